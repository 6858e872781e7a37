// Prove a bundle here: every byte, every graph, and the golden vectors.

import { Bundle } from "./bundle.js";
import { elementCount } from "./manifest.js";
import { standardNormal } from "./noise.js";
import { checkOptions, open } from "./session.js";
import { empty, littleEndian, Tensor } from "./tensors.js";

const GRAPHS = ["encode", "decode", "score", "sampled"];

/** Largest difference of two arrays relative to max(|reference|, rms of the reference), as the exporter measures it. */
export function maxRelativeError(actual, reference, dtype) {
  if (dtype === "int64") return actual.every((value, i) => value === reference[i]) ? 0 : 1;
  const rounding = dtype === "uint8" ? 1 : 0;
  const rms = Math.sqrt(reference.reduce((sum, value) => sum + value * value, 0) / Math.max(1, reference.length));
  let worst = 0;
  for (let i = 0; i < reference.length; i++) {
    const difference = Math.max(Math.abs(actual[i] - reference[i]) - rounding, 0);
    const size = Math.max(Math.abs(reference[i]), rms);
    const relative = Number.isFinite(difference) ? (difference === 0 ? 0 : difference / size) : Infinity;
    worst = Math.max(worst, Number.isNaN(relative) ? Infinity : relative);
  }
  return worst;
}

/**
 * Check structure, every hash, every graph, and run the golden vectors of every variant.
 *
 * @param source as of `open`.
 * @param {object} options ort and session, as of `open`.
 */
export async function verify(source, options = {}) {
  checkOptions("verify", options, ["ort", "session"]);
  const bundle = source instanceof Bundle ? source : await Bundle.open(source);
  await bundle.verifyMembers();
  const checks = [];
  for (const variant of Object.keys(bundle.manifest.variants).sort()) {
    const vae = await open(bundle, { ort: options.ort, session: options.session ?? {}, variant });
    try {
      checks.push(...(await goldenChecks(vae, variant)));
      if (bundle.manifest.latent.prior.member !== null) await vae.latents(0, { seed: 0 });
    } finally {
      await vae.close();
    }
  }
  return {
    ok: checks.every((check) => check.passed),
    members: Object.keys(bundle.manifest.members).length + 1,
    sizeBytes: bundle.sizeBytes,
    rows: bundle.manifest.golden.rows,
    checks,
  };
}

async function goldenChecks(vae, variant) {
  const { golden, input, condition, score, latent } = vae.manifest;
  const { graphs } = vae.manifest.variants[variant];
  const stored = async (member, { dtype, shape }) => {
    const data = littleEndian(await vae.readMember(member), dtype);
    return new Tensor(dtype, data, [golden.rows, ...shape]);
  };
  const expected = new Map();
  for (const [key, member] of Object.entries(golden.expected[variant])) {
    const dot = key.indexOf(".");
    const tensor = graphs[key.slice(0, dot)].outputs.find(({ name }) => name === key.slice(dot + 1));
    expected.set(key, await stored(member, tensor));
  }
  const fed = `encode.${graphs.encode.outputs[0].name}`;
  const feeds = { x: await stored(golden.input, input), [graphs.decode.inputs[0].name]: expected.get(fed) };
  if (golden.condition !== null) feeds.condition = await stored(golden.condition, condition);
  if (graphs.sampled) {
    const shape = [score.draws, ...latent.shape];
    feeds.noise = empty("float32", [golden.rows, ...shape]);
    const noise = standardNormal(elementCount(shape), { seed: 0, stream: 2 });
    for (let i = 0; i < golden.rows; i++) feeds.noise.row(i).set(noise);
  }
  const checks = [];
  for (const graph of GRAPHS.filter((name) => name in graphs)) {
    const names = graphs[graph].outputs.map(({ name }) => name).filter((name) => expected.has(`${graph}.${name}`));
    const given = Object.fromEntries(graphs[graph].inputs.map(({ name }) => [name, feeds[name]]));
    const outputs = await vae.runGraph(graph, given, names);
    outputs.forEach((output, i) => {
      const key = `${graph}.${names[i]}`;
      const relative = maxRelativeError(output.data, expected.get(key).data, output.dtype);
      const tolerance = golden.tolerance_relative[variant][key];
      checks.push({
        variant, graph, output: names[i], maxRelative: relative, toleranceRelative: tolerance,
        passed: relative <= tolerance,
      });
    });
  }
  return checks;
}

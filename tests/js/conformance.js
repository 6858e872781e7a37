// Runs the cases of tests/conformance against the package, in Node and in browsers alike.

import { Alarm, Bundle, Guard, open, standardNormal, VaeEdgeError, verify } from "../../runtime/js/src/index.js";
import { philoxWords } from "../../runtime/js/src/noise.js";

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int64: BigInt64Array, uint64: BigUint64Array,
};

export class Conformance {
  /**
   * @param ort the engine.
   * @param {(path: string) => Promise<Uint8Array>} read gives a file, relative to tests/conformance.
   */
  constructor(ort, read) {
    this.ort = ort;
    this.read = read;
  }

  /** Run one case; raises an Error that says where the answer differs. */
  async run(given) {
    if (given.do === "sweep") return equal(await this.sweep(given), given.expect.runs, "runs");
    const [name, answer] = await outcome(() => this.asked(given));
    const wanted = given.error ?? "accepted";
    if (name !== wanted) throw new Error(`${name} instead of ${wanted}${answer?.message ? `: ${answer.message}` : ""}`);
    if (name === "accepted") await (COMPARED[given.do] ?? plainly).call(this, given, answer);
  }

  async array(said) {
    if (!said) return undefined;
    const bytes = (await this.read(said.file)).slice();
    return { data: new ARRAYS[said.dtype](bytes.buffer), shape: said.shape, dtype: said.dtype };
  }

  async bundleBytes(bundle) {
    if (typeof bundle === "string") return this.read(bundle);
    const base = await this.bundleBytes(bundle.of);
    const pieces = bundle.pieces.map((piece) =>
      typeof piece === "string"
        ? Uint8Array.from(piece.match(/../g) ?? [], (digits) => parseInt(digits, 16))
        : base.slice(piece[0], piece[0] + piece[1]),
    );
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  }

  async opened(bytes) {
    const bundle = await Bundle.open(bytes);
    await bundle.verifyMembers();
    for (const [name, variant] of Object.entries(bundle.manifest.variants)) {
      for (const graph of Object.keys(variant.graphs)) await bundle.graph(name, graph);
    }
    return { bundle_id: bundle.bundleId, variants: Object.keys(bundle.manifest.variants).sort() };
  }

  async sweep(given) {
    const good = await this.bundleBytes(given.bundle);
    const runs = [];
    for (let at = 0; at < good.length; at++) {
      const bytes = given.change === "truncate" ? good.slice(0, at) : good.slice();
      if (given.change === "flip") bytes[at] ^= 1 << at % 8;
      const [name] = await outcome(() => this.opened(bytes));
      if (runs.at(-1)?.[1] === name) runs.at(-1)[0]++;
      else runs.push([1, name]);
    }
    return runs;
  }

  async guarded({ stream, input }, given) {
    const { data, shape } = await this.array(given.rows);
    const guard = new Guard(stream.guard, input);
    const size = data.length / shape[0];
    const rows = given.times.map((time, i) => guard.check(data.subarray(i * size, (i + 1) * size), time));
    return { flags: Uint8Array.from(rows.flatMap(({ flags }) => [...flags])), steps: rows.map(({ step }) => step) };
  }

  async asked(given) {
    const { seed, stream, count, n, temperature } = given;
    if (given.do === "words") {
      const halves = philoxWords(count, BigInt(seed), BigInt(stream));
      const words = new BigUint64Array(count);
      for (let i = 0; i < count; i++) words[i] = (BigInt(halves[2 * i]) << 32n) | BigInt(halves[2 * i + 1]);
      return { words };
    }
    if (given.do === "noise") return { noise: standardNormal(count, { seed: BigInt(seed), stream: BigInt(stream) }) };
    if (given.do === "alarm") {
      const alarm = new Alarm(given.rules);
      return { states: given.decisions.map((decision) => alarm.step(...decision)) };
    }
    const bytes = await this.bundleBytes(given.bundle);
    if (given.do === "guard") return this.guarded((await Bundle.open(bytes)).manifest, given);
    if (given.do === "open") return this.opened(bytes);
    if (given.do === "verify") return verify(bytes, { ort: this.ort });
    const vae = await open(bytes, { ort: this.ort, variant: given.variant ?? "auto" });
    try {
      const [x, z, condition] = await Promise.all([given.x, given.z, given.condition].map((said) => this.array(said)));
      const drawn = { seed: seed === undefined ? undefined : BigInt(seed), temperature };
      switch (given.do) {
        case "score": {
          const { heads = [], maps = false, threshold = null } = given;
          const scores = await vae.score(x, { condition, heads, maps, threshold });
          return maps ? Object.assign(scores, { maps: scores.map.data }) : scores;
        }
        case "encode":
          return await vae.encode(x, { condition });
        case "decode":
          return { x_hat: await vae.decode(z, { condition }) };
        case "sample":
          return { x_hat: await vae.sample(n, { ...drawn, condition }) };
        case "latents":
          return { z: await vae.latents(n, drawn) };
        case "decide": {
          const sketch = await vae.scorer.sketch(given.head);
          const scores = (await this.array(given.scores)).data;
          const { threshold } = vae.scorer.calibrations[given.head];
          return { p_value: sketch.pValues(scores), is_anomaly: Array.from(scores, (score) => score > threshold) };
        }
        case "stream": {
          const { data, shape } = await this.array(given.rows);
          const events = [];
          for await (const event of vae.stream([{ data, shape, times: given.times }])) events.push(event);
          return { events };
        }
        case "threshold_for": {
          const thresholds = [];
          for (const { head, method, rate } of given.expect.thresholds) {
            const [name, threshold] = await outcome(() => vae.thresholdFor(rate, { head, method }));
            thresholds.push({ head, method, rate, ...(name === "accepted" ? { threshold } : { error: name }) });
          }
          return { thresholds };
        }
      }
      throw new Error(`the kind ${given.do} is not known`);
    } finally {
      await vae.close();
    }
  }
}

/** The name of the error that `action` is refused by, or "accepted", and what came of it. */
async function outcome(action) {
  try {
    return ["accepted", await action()];
  } catch (error) {
    if (error instanceof VaeEdgeError) return [error.name, error];
    throw error;
  }
}

function equal(got, wanted, what) {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: ${a.slice(0, 200)} instead of ${b.slice(0, 200)}`);
}

const flat = (answer) => Array.from(answer?.data ?? answer);

/** Arrays and values as the case expects them; the answer may hold more. */
async function plainly(given, answer) {
  for (const [name, wanted] of Object.entries(given.expect)) {
    const got = name === "map" ? answer.maps : answer[name];
    if (wanted?.file === undefined) {
      equal(ArrayBuffer.isView(got) ? flat(got) : got, wanted, name);
      continue;
    }
    const expected = await this.array(wanted);
    if (got.shape) equal(got.shape, expected.shape, `shape of ${name}`);
    near(flat(got), flat(expected), wanted, name);
  }
}

function near(got, expected, { dtype, tolerance_relative: tolerance }, what) {
  if (got.length !== expected.length) throw new Error(`${what}: ${got.length} elements instead of ${expected.length}`);
  const isExact = tolerance === undefined || dtype === "int64";
  const known = isExact ? [] : expected.filter((value) => !Number.isNaN(value));
  const rms = Math.sqrt(known.reduce((sum, value) => sum + value * value, 0) / Math.max(1, known.length));
  expected.forEach((value, i) => {
    const size = isExact ? 0 : Math.max(Math.abs(value), rms);
    const away = isExact ? 0 : Math.max(Math.abs(got[i] - value) - (dtype === "uint8" ? 1 : 0), 0);
    const same = isExact ? Object.is(got[i], value) : Number.isNaN(value) ? Number.isNaN(got[i]) : away <= tolerance * size;
    if (!same) throw new Error(`${what}[${i}] is ${got[i]} instead of ${value}`);
  });
}

function between(got, low, high, what) {
  if (got.length !== low.length) throw new Error(`${what}: ${got.length} rows instead of ${low.length}`);
  low.forEach((least, row) => {
    const inside = least === null ? Number.isNaN(got[row]) : least <= got[row] && got[row] <= high[row];
    if (!inside) throw new Error(`${what}: ${got[row]} of row ${row} is not from ${least} to ${high[row]}`);
  });
}

async function compareScores(given, answer) {
  const { heads, ...rest } = given.expect;
  equal(Object.keys(answer.heads).sort(), Object.keys(heads).sort(), "heads");
  for (const [head, wanted] of Object.entries(heads)) {
    const got = answer.heads[head];
    if (wanted.threshold !== null) equal(got.threshold, wanted.threshold, `threshold of ${head}`);
    between(got.score, wanted.score_low, wanted.score_high, `score of ${head}`);
    if (wanted.p_low !== null) between(got.pValue, wanted.p_low, wanted.p_high, `p-value of ${head}`);
    wanted.is_anomaly.forEach((known, row) => {
      if (known !== null && got.isAnomaly[row] !== known) throw new Error(`decision of ${head} on row ${row}`);
    });
  }
  await plainly.call(this, { expect: rest }, answer);
}

function compareDecisions({ expect }, { p_value, is_anomaly }) {
  equal(Array.from(p_value, (p) => (Number.isNaN(p) ? null : p)), expect.p_value, "p_value");
  equal(is_anomaly, expect.is_anomaly, "is_anomaly");
}

function compareThresholds({ expect }, { thresholds }) {
  expect.thresholds.forEach((wanted, i) => {
    const { threshold, ...rest } = thresholds[i];
    const { threshold: exact, ...others } = wanted;
    equal(rest, others, "threshold");
    const most = wanted.method === "tail" ? 1e-12 * Math.abs(exact) : 0;
    if (exact !== undefined && !(Math.abs(threshold - exact) <= most)) {
      throw new Error(`threshold ${threshold} instead of ${exact} for ${wanted.head} at ${wanted.rate}`);
    }
  });
}

function compareEvents({ expect, tolerance_relative: tolerance }, { events }) {
  equal(events.length, expect.events.length, "number of events");
  const scale = Math.max(0, ...expect.events.map(({ score }) => Math.abs(score ?? 0)));
  expect.events.forEach(({ score, ...wanted }, i) => {
    const { isAnomaly: is_anomaly, faultFeatures: fault_features, ...event } = events[i];
    const got = { ...event, is_anomaly, fault_features };
    for (const [name, value] of Object.entries(wanted)) equal(got[name], value, `${name} of row ${wanted.index}`);
    const isNear = score === null ? got.score === null : Math.abs(got.score - score) <= tolerance * scale;
    if (!isNear) throw new Error(`score ${got.score} instead of ${score} of row ${wanted.index}`);
  });
}

const COMPARED = { stream: compareEvents, score: compareScores, decide: compareDecisions, threshold_for: compareThresholds };

/** Run all cases: counts by kind and what failed, in the form of tests/conformance/results. */
export async function outcomes(suite, cases, { skip = [] } = {}) {
  const kinds = {};
  const failed = {};
  for (const given of cases) {
    kinds[given.do] ??= [0, 0];
    kinds[given.do][1]++;
    if (skip.includes(given.id)) continue;
    try {
      await suite.run(given);
      kinds[given.do][0]++;
    } catch (error) {
      failed[given.id] = String(error.message).split("\n")[0];
    }
  }
  return { kinds, failed };
}

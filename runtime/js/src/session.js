// `open` and the session it returns.

import { Bundle } from "./bundle.js";
import { Engine, Gate } from "./engine.js";
import { InputError, OptionError, PairMismatch, shown } from "./errors.js";
import { elementCount } from "./manifest.js";
import { draw, readPrior } from "./prior.js";
import { Posterior } from "./results.js";
import { Scorer } from "./scorer.js";
import { decisions } from "./stream.js";
import { allFinite, blankBadRows, checkCondition, checkRows, empty, replaceBadRows, Status, Tensor } from "./tensors.js";

/** Rows given to the engine at once; larger arrays are cut, so memory does not grow with n. */
const ROWS_PER_RUN = 64;
const OPEN_OPTIONS = ["ort", "variant", "session"];
const CALL_OPTIONS = {
  score: ["condition", "heads", "maps", "threshold"], encode: ["condition"], decode: ["condition"],
  reconstruct: ["condition"], sample: ["seed", "temperature", "condition"], thresholdFor: ["head", "method"], stream: ["stride", "guard", "alarm"],
};

/** Refuse options that do not exist: a typing error would otherwise be silence. */
export function checkOptions(name, options, valid) {
  if (options === null || typeof options !== "object") {
    throw new OptionError(`${name} takes its options as an object, not ${shown(options)}`);
  }
  const unknown = Object.keys(options).find((key) => !valid.includes(key));
  if (unknown !== undefined) throw new OptionError(`${name} has no option ${shown(unknown)}; valid are ${valid.join(", ")}`);
}

/**
 * Open a bundle and get ready to run it.
 *
 * @param source its bytes (an ArrayBuffer or a view), a Blob or File, or a URL to fetch.
 * @param {object} options
 * @param options.ort `onnxruntime-node` or `onnxruntime-web`, imported by the caller.
 * @param {string} [options.variant] a precision in the bundle; `auto` takes fp32 where there is one.
 * @param {object} [options.session] for the engine, such as {executionProviders: ["webgpu"]}.
 * @returns {Promise<VAE>}
 */
export async function open(source, options = {}) {
  checkOptions("open", options, OPEN_OPTIONS);
  const bundle = source instanceof Bundle ? source : await Bundle.open(source);
  const vae = new VAE(bundle, options);
  await vae.scorer.sketch(vae.heads[0]); // as the Python runtime: a calibration that cannot be read is said now
  return vae;
}

/** A loaded bundle. Its methods may be called at once; `close` waits for the calls that run. Use `open`. */
export class VAE {
  #bundle;
  #engine;
  #gate = new Gate();
  #variant;
  #prior = null;

  constructor(bundle, { ort, variant = "auto", session = {} }) {
    this.#bundle = bundle;
    this.manifest = bundle.manifest;
    if (this.manifest.free_size !== null) {
      throw new OptionError(
        "encode and decode of this bundle take rows of any height and width, which this package does not run: use the " +
          "Python runtime, or export the model without --dynamic-size",
      );
    }
    const name = bundle.chooseVariant(variant);
    this.#variant = bundle.manifest.variants[name];
    this.#engine = new Engine(ort, (graph) => bundle.graph(name, graph), session, (graph) => bundle.hasSignedWeights(name, graph));
    bundle.checkEngine(this.#engine.version);
    this.scorer = new Scorer(this.manifest, this.#variant, (member) => bundle.read(member));
    /** What runs. */
    this.info = Object.freeze({
      bundleId: bundle.bundleId,
      variant: name,
      backend: this.#engine.isNode ? "onnxruntime-node" : "onnxruntime-web",
      engineVersion: this.#engine.version,
      providers: Object.freeze([...this.#engine.providers]),
    });
  }

  /** What this bundle can score by; the first is the default. */
  get heads() {
    return this.scorer.heads;
  }

  /** Anomaly score of raw rows. */
  async score(x, options = {}) {
    return this.#call("score", options, async ({ condition, heads = [], maps = false, threshold = null }) => {
      if (this.manifest.input.overlap !== null) {
        // A tile held against the threshold of a picture would be a wrong decision.
        throw new OptionError(
          "rows of this bundle are tiles, and its thresholds are of whole pictures: this package does not put tiles " +
            "together, so score pictures with the Python runtime",
        );
      }
      const wanted = this.scorer.wanted(heads);
      if (typeof maps !== "boolean") throw new OptionError(`maps is ${shown(maps)}; pass true or false`);
      if (threshold !== null && (typeof threshold !== "number" || !Number.isFinite(threshold))) {
        throw new OptionError(`threshold is ${shown(threshold)}; pass a finite number, in the unit of the score`);
      }
      const [feeds, status] = this.#rows(x, condition);
      const run = (...given) => this.#run(...given);
      return this.scorer.scores(run, feeds, status, { heads: wanted, maps, threshold });
    });
  }

  /** Posterior q(z|x) of raw rows. */
  async encode(x, options = {}) {
    return this.#call("encode", options, ({ condition }) => this.#encode(x, condition));
  }

  async #encode(x, condition) {
    const [feeds, status] = this.#rows(x, condition);
    const names = this.#variant.graphs.encode.outputs.map(({ name }) => name);
    const tensors = await this.#run("encode", feeds, names);
    blankBadRows(tensors, status);
    const outputs = Object.fromEntries(names.map((name, i) => [name, tensors[i]]));
    return new Posterior({
      mean: outputs.z_q ?? outputs.mean,
      logvar: outputs.logvar ?? null,
      indices: outputs.indices ?? null,
      status,
      pairId: this.manifest.pair_id,
      groups: this.manifest.latent.groups,
    });
  }

  /** Rows for latents, or for a posterior: (n, *output_shape) in data units. */
  async decode(z, options = {}) {
    return this.#call("decode", options, ({ condition }) => this.#decode(z, condition));
  }

  async #decode(z, condition) {
    let latents = z;
    if (z instanceof Posterior || z?.pairId !== undefined) {
      // The second is a posterior that came out of a worker.
      if (z.pairId !== this.manifest.pair_id) {
        throw new PairMismatch(
          `this posterior was encoded by model ${z.pairId}, this decoder belongs to ${this.manifest.pair_id}: ` +
            "decode it with the bundle that encoded it",
        );
      }
      latents = z.indices ?? z.mean;
    }
    const [{ name, shape, dtype }] = this.#variant.graphs.decode.inputs;
    const checked = checkRows(latents, { shape, dtype, what: "z" });
    if (!allFinite(checked)) throw new InputError("z holds NaN or infinity");
    const { codebook } = this.manifest.latent;
    if (codebook && checked.data.some((index) => index < 0 || index >= codebook)) {
      throw new InputError(`z holds an index outside the codebook, which has 0 to ${codebook - 1}`);
    }
    const feeds = { [name]: checked, ...checkCondition(condition, this.manifest.condition, checked.length) };
    return (await this.#run("decode", feeds, ["x_hat"]))[0];
  }

  /** Decode the posterior mean of each raw row. */
  async reconstruct(x, options = {}) {
    return this.#call("reconstruct", options, async ({ condition }) => {
      const posterior = await this.#encode(x, condition);
      const bad = posterior.status.findIndex((status) => status !== Status.OK);
      if (bad >= 0) throw new InputError(`row ${bad} of x is not finite or encodes to nothing finite`);
      return this.#decode(posterior, condition);
    });
  }

  /** Draw n new rows from the prior; the same seed gives the same latents in every language. */
  async sample(n, options = {}) {
    return this.#call("sample", options, async ({ seed, temperature = 1, condition }) => {
      return this.#decode(await this.#latents(n, seed, temperature), condition);
    });
  }

  /** The latents that `sample` decodes. */
  async latents(n, options = {}) {
    return this.#call("sample", options, ({ seed, temperature = 1 }) => this.#latents(n, seed, temperature));
  }

  async #latents(n, seed, temperature) {
    const { latent, output } = this.manifest;
    const bytes = 8 * Math.max(elementCount(latent.shape), elementCount(output.shape));
    if (!Number.isSafeInteger(n) || n < 0 || n * bytes > Number.MAX_SAFE_INTEGER) {
      throw new OptionError(`n is ${shown(n)}; pass a whole number of rows from 0 that fits in memory`);
    }
    if (typeof temperature !== "number" || !Number.isFinite(temperature) || temperature < 0) {
      throw new OptionError(`temperature is ${shown(temperature)}; pass a finite number from 0 (1 is the prior itself)`);
    }
    const { member } = latent.prior;
    if (member !== null) this.#prior ??= this.#bundle.read(member).then((raw) => readPrior(latent, raw));
    const data = draw(latent, await this.#prior, n, { seed, temperature });
    return new Tensor(latent.kind === "codes" ? "int64" : "float32", data, [n, ...latent.shape]);
  }

  /** The threshold that stands for another false-positive rate, from the same calibration rows. */
  async thresholdFor(falsePositiveRate, options = {}) {
    return this.#call("thresholdFor", options, (given) => this.scorer.thresholdFor(falsePositiveRate, given));
  }

  /** Decisions about the rows of a source, as they come: an async iterator of events. */
  stream(source, options = {}) {
    checkOptions("stream", options, CALL_OPTIONS.stream);
    return decisions(this, source, options);
  }

  /** Run one graph of the bundle as it is: inputs are checked, rows get no status. */
  async runGraph(graph, feeds, outputs) {
    return this.#gate.enter(async () => {
      const spec = this.#variant.graphs[graph];
      if (!spec) throw new OptionError(`graph is ${shown(graph)}; valid are ${Object.keys(this.#variant.graphs).join(", ")}`);
      const known = spec.outputs.map(({ name }) => name);
      if (!Array.isArray(outputs) || outputs.some((name) => !known.includes(name))) {
        throw new OptionError(`outputs is ${shown(outputs)}; ${graph} has ${known.join(", ")}`);
      }
      const names = spec.inputs.map(({ name }) => name);
      if (Object.keys(feeds ?? {}).sort().join() !== [...names].sort().join()) {
        throw new InputError(`feeds are not one array each for ${names.join(", ")}, by name`);
      }
      const checked = Object.fromEntries(
        spec.inputs.map(({ name, shape, dtype }) => [name, checkRows(feeds[name], { shape, dtype, what: name })]),
      );
      if (new Set(Object.values(checked).map((x) => x.length)).size !== 1) {
        throw new InputError(`${graph} takes ${names.join(", ")}, each with the same number of rows`);
      }
      return outputs.length ? this.#run(graph, checked, outputs) : [];
    });
  }

  /** Verified bytes of one member of the bundle, such as a golden vector. */
  async readMember(name) {
    if (typeof name !== "string") throw new OptionError(`name is ${shown(name)}; pass the name of a member`);
    return this.#gate.enter(() => this.#bundle.read(name));
  }

  /** Free the engine after the calls that run now; twice is no error. */
  async close() {
    await this.#gate.close();
    await this.#engine.close();
  }

  async [Symbol.asyncDispose ?? Symbol("asyncDispose")]() {
    await this.close();
  }

  #call(name, options, action) {
    return this.#gate.enter(async () => {
      checkOptions(name, options, CALL_OPTIONS[name]);
      return action(options);
    });
  }

  #rows(x, condition) {
    const { shape, dtype, codes } = this.manifest.input;
    const rows = checkRows(x, { shape, dtype });
    const status = replaceBadRows(rows, codes);
    return [{ x: rows, ...checkCondition(condition, this.manifest.condition, rows.length) }, status];
  }

  /** Run in bounded pieces; 0 rows give empty arrays without the engine. */
  async #run(graph, feeds, names) {
    const spec = this.#variant.graphs[graph];
    const [{ length: n }] = Object.values(feeds);
    if (n > 0 && n <= ROWS_PER_RUN) return this.#engine.run(graph, feeds, names);
    const wholes = names.map((name) => {
      const { dtype, shape } = spec.outputs.find((output) => output.name === name);
      return empty(dtype, [n, ...shape]);
    });
    for (let start = 0; start < n; start += ROWS_PER_RUN) {
      const stop = Math.min(n, start + ROWS_PER_RUN);
      const part = Object.fromEntries(Object.entries(feeds).map(([name, x]) => [name, slice(x, start, stop)]));
      (await this.#engine.run(graph, part, names)).forEach((piece, i) => {
        wholes[i].data.set(piece.data, start * elementCount(wholes[i].shape.slice(1)));
      });
    }
    return wholes;
  }
}

/** Some rows of a tensor, without a copy. */
function slice({ dtype, data, shape }, start, stop) {
  const size = elementCount(shape.slice(1));
  return new Tensor(dtype, data.subarray(start * size, stop * size), [stop - start, ...shape.slice(1)]);
}

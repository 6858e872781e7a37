// From the outputs of a bundle's graphs to scores: heads, calibration, and rows that were not scored.

import { CalibrationError, OptionError, shown } from "./errors.js";
import { elementCount } from "./manifest.js";
import { computedIn } from "./signatures.js";
import { standardNormal } from "./noise.js";
import { HeadScores, Scores } from "./results.js";
import { FROM_P_VALUES, LatentStatistics, ScoreSketch, tailThreshold } from "./statistics.js";
import { HEADS } from "./tables.js";
import { blankBadRows, empty } from "./tensors.js";

const NOISE_SEED = 0;
const NOISE_STREAM = 2;

/** The heads of one variant. What only some of them need is read when one is first asked for. */
export class Scorer {
  #read;
  #sketches = new Map();
  #latent = null;
  #noise = null;

  /** @param {(member: string) => Promise<Uint8Array>} read gives the verified bytes of a member. */
  constructor(manifest, variant, read) {
    this.manifest = manifest;
    this.variant = variant;
    const { heads, decides_by } = manifest.score;
    this.graphHead = heads[0]; // the output `score` of the graph
    /** The head that decides comes first. */
    this.heads = Object.freeze([...new Set([decides_by ?? heads[0], ...heads])]);
    this.calibrations = {
      ...(variant.calibration ? { [this.graphHead]: variant.calibration } : {}), ...variant.channels,
    };
    this.#read = read;
  }

  /** The sketch of a head, or null where nothing was calibrated. */
  async sketch(head) {
    const calibration = this.calibrations[head];
    if (!calibration) return null;
    if (!this.#sketches.has(head)) {
      const reading = this.#read(calibration.member).then((bytes) => new ScoreSketch(bytes, Number(calibration.n)));
      this.#sketches.set(head, reading);
    }
    return this.#sketches.get(head);
  }

  /** Names of heads and of those they are combined from, in the order of the bundle. */
  #withParts(heads) {
    for (const head of heads) {
      if (!this.heads.includes(head)) {
        throw new OptionError(
          `this bundle has no head ${shown(head)}; it has ${this.heads.join(", ")}: heads are chosen at export`,
        );
      }
    }
    const isCombined = heads.some((head) => HEADS[head].computed === "p_values");
    const parts = isCombined ? this.manifest.score.parts : [];
    return this.manifest.score.heads.filter((head) => heads.includes(head) || parts.includes(head));
  }

  /** Heads to score by: `all` is every one of the bundle. */
  wanted(heads) {
    if (heads === "all") return [...this.heads];
    const list = typeof heads === "string" ? [heads] : heads;
    if (!Array.isArray(list) || !list.every((head) => typeof head === "string")) {
      throw new OptionError(`heads is ${shown(heads)}; pass a name, a list of names, or "all"`);
    }
    this.#withParts(list);
    return list;
  }

  /**
   * Run what the heads need, and make of it one result.
   *
   * @param run runs a graph: (graph, feeds, names) to tensors.
   * @param {Uint8Array} status of the rows; it is written to.
   */
  async scores(run, feeds, status, { heads, maps, threshold }) {
    const spec = this.manifest.score;
    const [first] = this.heads;
    const computed = this.#withParts([first, ...heads]);
    const own = computed.filter((head) => HEADS[head].computed === "score" && head !== this.graphHead);
    const codes = computed.some((head) => HEADS[head].reads_codes) ? ["mean"] : [];
    const terms = ["reconstruction", ...(spec.kl_weight === null ? [] : ["kl"]), ...(maps ? ["map"] : [])];
    const names = [...new Set(["score", ...own, ...codes, ...terms])];
    const outputs = Object.fromEntries((await run("score", feeds, names)).map((tensor, i) => [names[i], tensor]));
    const drawn = computed.filter((head) => computedIn(spec, "sampled").includes(head));
    if (drawn.length) {
      const tensors = await run("sampled", { ...feeds, noise: this.#posteriorNoise(status.length) }, drawn);
      drawn.forEach((name, i) => (outputs[name] = tensors[i]));
    }
    blankBadRows(Object.values(outputs), status);
    const scores = await this.#headScores(computed, outputs);
    const results = {};
    for (const head of this.heads) {
      if (head !== first && !heads.includes(head)) continue;
      const own = head === first && threshold !== null ? threshold : (this.calibrations[head]?.threshold ?? null);
      results[head] = new HeadScores(scores[head], own, await this.sketch(head));
    }
    const map = outputs.map ?? null;
    return new Scores(results, first, outputs.reconstruction.data, outputs.kl?.data ?? null, status, map);
  }

  /** Scores by each head: parts of ensembles first, since ensembles read their p-values. */
  async #headScores(computed, outputs) {
    const scores = {};
    const isLate = (head) => HEADS[head].computed === "p_values";
    for (const head of [...computed.filter((head) => !isLate(head)), ...computed.filter(isLate)]) {
      if (head === this.graphHead) scores[head] = outputs.score.data;
      else if (head === "mahalanobis") scores[head] = (await this.#latentStatistics()).distances(outputs.mean);
      else if (head === "typicality") {
        const typical = Math.fround(this.variant.typical_score);
        scores[head] = outputs.score.data.map((score) => Math.abs(Math.fround(score - typical)));
      } else if (isLate(head)) scores[head] = await this.#combined(head, scores);
      else scores[head] = outputs[head].data;
    }
    return scores;
  }

  async #combined(head, scores) {
    const { parts } = this.manifest.score;
    const sketches = await Promise.all(parts.map((part) => this.sketch(part)));
    if (sketches.includes(null)) throw new CalibrationError(`the head ${head} needs a calibration, and there is none`);
    const pValues = parts.map((part, i) => sketches[i].pValues(scores[part]));
    return Float32Array.from(pValues[0], (_, row) => FROM_P_VALUES[head](pValues.map((of) => of[row])));
  }

  async #latentStatistics() {
    this.#latent ??= this.#read(this.variant.latent_statistics).then((bytes) => new LatentStatistics(bytes));
    return this.#latent;
  }

  /** The draws that every row is decoded with: the same for each, so that a score depends on nothing beside it. */
  #posteriorNoise(n) {
    const shape = [this.manifest.score.draws, ...this.manifest.latent.shape];
    this.#noise ??= standardNormal(elementCount(shape), { seed: NOISE_SEED, stream: NOISE_STREAM });
    const noise = empty("float32", [n, ...shape]);
    for (let i = 0; i < n; i++) noise.row(i).set(this.#noise);
    return noise;
  }

  /** The threshold of a head for another false-positive rate, from the same calibration rows. */
  async thresholdFor(rate, { head = this.heads[0], method = "conformal" } = {}) {
    if (typeof rate !== "number" || !Number.isFinite(rate)) {
      throw new OptionError(`the false-positive rate is ${shown(rate)}; pass a number inside (0, 1)`);
    }
    this.#withParts([head]);
    const calibration = this.calibrations[head];
    if (!calibration) throw new CalibrationError("this bundle carries no calibration: pass score(x, {threshold})");
    if (method === "conformal") return (await this.sketch(head)).threshold(rate);
    if (method !== "tail") throw new OptionError(`method is ${shown(method)}; valid are conformal and tail`);
    if (calibration.tail === null) {
      throw new CalibrationError(
        `the calibration rows of head '${head}' allow no fit of the tail (too few, or too wild): use method "conformal"`,
      );
    }
    return tailThreshold(calibration.tail, rate);
  }
}

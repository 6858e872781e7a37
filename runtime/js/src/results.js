// What a session gives back: typed arrays with names.

import { CalibrationError, OptionError, shown } from "./errors.js";
import { elementCount } from "./manifest.js";
import { standardNormal } from "./noise.js";
import { benjaminiHochberg } from "./statistics.js";
import { Status, STATUS_NAMES, Tensor } from "./tensors.js";

const orNull = (value) => (Number.isFinite(value) ? value : null);

/** Scores of n rows by one head; NaN where a row was not scored. */
export class HeadScores {
  #sketch;
  #pValue = null;

  constructor(score, threshold, sketch) {
    this.score = score;
    this.threshold = threshold;
    this.#sketch = sketch;
  }

  /** Whether there are p-values. */
  get calibrated() {
    return this.#sketch !== null;
  }

  /** (n,) booleans: score > threshold; false where a row was not scored. */
  get isAnomaly() {
    if (this.threshold === null) {
      throw new CalibrationError("this bundle carries no calibration: pass score(x, {threshold})");
    }
    return Array.from(this.score, (score) => score > this.threshold);
  }

  /** (n,) split-conformal p-values against the calibration rows; NaN where a row was not scored. */
  get pValue() {
    if (!this.#sketch) throw new CalibrationError("this bundle carries no calibration, so there are no p-values");
    this.#pValue ??= this.#sketch.pValues(this.score);
    return this.#pValue;
  }

  /** Rows to call anomalies together, so that of those called at most this share is normal. */
  discoveries(falseDiscoveryRate) {
    return benjaminiHochberg(this.pValue, falseDiscoveryRate);
  }
}

/** Scores of n rows; a row whose `status` is not 0 holds NaN and is no anomaly. */
export class Scores extends HeadScores {
  #map;

  constructor(heads, first, reconstruction, kl, status, map) {
    const { score, threshold } = heads[first];
    super(score, threshold, null);
    this.heads = heads;
    this.head = first;
    this.reconstruction = reconstruction;
    this.kl = kl;
    this.status = status;
    this.#map = map;
  }

  /** Number of rows. */
  get length() {
    return this.score.length;
  }

  get calibrated() {
    return this.heads[this.head].calibrated;
  }

  get pValue() {
    return this.heads[this.head].pValue;
  }

  /** (n, *input_shape) float32: share of each element in `reconstruction`. */
  get map() {
    if (!this.#map) throw new OptionError("maps were not asked for: call score(x, {maps: true})");
    return this.#map;
  }

  /** One plain object per row, for JSON: numbers that are not finite are null, statuses have names. */
  toRows() {
    const decided = this.threshold === null ? null : this.isAnomaly;
    const pValues = this.calibrated ? this.pValue : null;
    return Array.from(this.status, (status, i) => ({
      score: orNull(this.score[i]),
      reconstruction: orNull(this.reconstruction[i]),
      kl: this.kl === null ? null : orNull(this.kl[i]),
      p_value: pValues === null ? null : orNull(pValues[i]),
      is_anomaly: decided === null || status !== Status.OK ? null : decided[i],
      status: STATUS_NAMES[status],
      heads: Object.fromEntries(Object.entries(this.heads).map(([head, { score }]) => [head, orNull(score[i])])),
    }));
  }
}

/** q(z|x) of n rows: a diagonal Gaussian, or one point where the model has no more to say. */
export class Posterior {
  constructor({ mean, logvar, indices, status, pairId, groups }) {
    Object.assign(this, { mean, logvar, indices, status, pairId, groups });
  }

  /** (n, *latent_shape): exp(logvar / 2). */
  get std() {
    if (!this.logvar) throw new OptionError("this model's code has no spread: it is an autoencoder or a VQ model");
    return new Tensor("float32", this.logvar.data.map((value) => Math.exp(0.5 * value)), this.logvar.shape);
  }

  /** `mean` per latent of a hierarchical model, (n, *group) each; [mean] of any other. */
  get means() {
    if (!this.groups.length) return [this.mean];
    let start = 0;
    return this.groups.map((group) => {
      const size = elementCount(group);
      const data = new Float32Array(this.mean.length * size);
      for (let i = 0; i < this.mean.length; i++) {
        data.set(this.mean.row(i).subarray(start, start + size), i * size);
      }
      start += size;
      return new Tensor("float32", data, [this.mean.length, ...group]);
    });
  }

  /** One latent per row: mean + temperature * std * noise(seed). */
  sample({ seed, temperature = 1 } = {}) {
    if (typeof temperature !== "number" || !Number.isFinite(temperature)) {
      throw new OptionError(`temperature is ${shown(temperature)}; pass a finite number`);
    }
    const noise = standardNormal(this.mean.data.length, { seed });
    const { data } = this.std;
    const scale = Math.fround(temperature);
    const latents = this.mean.data.map((mean, i) => mean + Math.fround(Math.fround(scale * data[i]) * noise[i]));
    return new Tensor("float32", latents, this.mean.shape);
  }
}

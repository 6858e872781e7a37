// From scores to decisions, as in the Python runtime: conformal p-values, tails, distances, ensembles.

import { BundleInvalid, CalibrationError, InputError, OptionError, shown } from "./errors.js";
import { littleEndian } from "./tensors.js";

const REACH = 20; // how far below 1 / n a rate of a fitted tail may lie

/** Fewest calibration rows that can back a rate. */
function samplesNeeded(rate) {
  return Math.max(1, Math.ceil(1 / rate - 1e-9) - 1);
}

/** Sorted calibration scores, with how many of all n lie strictly above each. */
export class ScoreSketch {
  constructor(bytes, n) {
    const half = Math.floor(bytes.length / 8) * 4;
    this.values = littleEndian(bytes.subarray(0, half), "float32");
    this.above = littleEndian(bytes.subarray(half), "uint32");
    this.n = n;
    const { values: v, above } = this;
    const good =
      0 < v.length && v.length === above.length && v.length <= n && v.every(Number.isFinite) &&
      v.every((value, i) => i === 0 || v[i - 1] < value) && above.every((count, i) => i === 0 || above[i - 1] > count) &&
      above[above.length - 1] === 0 && above[0] < n;
    if (!good) throw new BundleInvalid("the calibration sketch is not sorted, or its counts do not fit its size");
  }

  /** Split-conformal p-value of each score; NaN where the score is NaN. Never too small. */
  pValues(scores) {
    const { values, above, n } = this;
    return Float64Array.from(scores, (score) => {
      if (Number.isNaN(score)) return NaN;
      let [low, high] = [0, values.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (values[middle] < score) low = middle + 1;
        else high = middle;
      }
      return (1 + (low === 0 ? n : above[low - 1])) / (n + 1);
    });
  }

  /** The score above which a row is called an anomaly at this false-positive rate. */
  threshold(rate) {
    if (!(rate > 0 && rate < 1)) throw new CalibrationError(`a false-positive rate of ${rate} is not inside (0, 1)`);
    const k = Math.ceil((this.n + 1) * (1 - rate) - 1e-9);
    if (k > this.n) {
      const needed = samplesNeeded(rate);
      throw new CalibrationError(
        `a false-positive rate of ${rate} needs at least ${needed} normal calibration rows, there are ${this.n}: ` +
          `bring more rows, or ask for a rate of at least ${(1 / (this.n + 1)).toPrecision(3)}`,
        { needed },
      );
    }
    return this.values[this.above.findIndex((count) => count <= this.n - k)];
  }
}

/** The score that normal rows exceed at this rate, by the tail fitted at export (Siffer et al. 2017, equation 1). */
export function tailThreshold(tail, rate) {
  const share = tail.excesses / tail.n;
  if (!(rate > 0 && rate <= share)) {
    throw new CalibrationError(
      `a false-positive rate of ${rate} is outside the fitted tail, which holds rates up to ${share}: take the quantile`,
    );
  }
  const lowest = 1 / (REACH * tail.n);
  if (rate < lowest * (1 - 1e-9)) {
    throw new CalibrationError(
      `a false-positive rate of ${rate} is more than ${REACH} times beyond the ${tail.n} calibration rows: ` +
        `ask for at least ${lowest.toPrecision(3)}, or bring more rows`,
      { needed: Math.ceil(1 / (REACH * rate) - 1e-9) },
    );
  }
  const logOdds = Math.log(share / rate);
  const steps = Math.abs(tail.shape) < 1e-9 ? logOdds : Math.expm1(tail.shape * logOdds) / tail.shape;
  return tail.level + tail.scale * steps;
}

/** Mean and whitening matrix of the codes of normal rows, for the head `mahalanobis`. */
export class LatentStatistics {
  constructor(bytes) {
    const numbers = littleEndian(bytes, "float32");
    const d = Math.floor((Math.sqrt(1 + 4 * numbers.length) - 1) / 2);
    if (d * (d + 1) !== numbers.length || d === 0 || !numbers.every(Number.isFinite)) {
      throw new BundleInvalid("the statistics of the latents are not finite numbers of a mean and a matrix");
    }
    this.mean = numbers.subarray(0, d);
    this.whiten = numbers.subarray(d);
  }

  /** Distance of each code from the normal ones. */
  distances(codes) {
    const d = this.mean.length;
    const away = new Float64Array(d);
    return Float32Array.from({ length: codes.length }, (_, row) => {
      codes.row(row).forEach((value, i) => (away[i] = value - this.mean[i]));
      let sum = 0;
      for (let k = 0; k < d; k++) {
        let white = 0;
        for (let i = 0; i < d; i++) white += away[i] * this.whiten[k * d + i];
        sum += white * white;
      }
      return Math.sqrt(sum);
    });
  }
}

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

/** P-values of one row by other heads to one score, larger is less normal: the heads computed from p-values. */
export const FROM_P_VALUES = {
  fisher: (p) => -2 * p.reduce((sum, value) => sum + Math.log(value), 0),
  harmonic: (p) => mean(p.map((value) => 1 / value)),
  ranks: (p) => 1 - mean(p),
};

/** Rows to call anomalies together, so that of those called at most this share is normal (Benjamini & Hochberg 1995). */
export function benjaminiHochberg(pValues, rate) {
  if (!(rate > 0 && rate < 1)) throw new OptionError(`a false discovery rate of ${shown(rate)} is not inside (0, 1)`);
  const ordered = Array.from(pValues).filter((p) => !Number.isNaN(p)).sort((a, b) => a - b);
  if (ordered.length && !(ordered[0] >= 0 && ordered[ordered.length - 1] <= 1)) {
    throw new InputError("a p-value is outside [0, 1]");
  }
  const m = Math.max(1, ordered.length);
  const limit = ordered.findLast((p, i) => p <= ((i + 1) / m) * rate) ?? -1;
  return Array.from(pValues, (p) => p <= limit);
}

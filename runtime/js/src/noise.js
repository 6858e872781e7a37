// Standard normal noise that is the same, bit for bit, in every language and on every device: Philox4x64-10 words,
// then the inverse distribution function by AS 241 (PPND16) in float64, rounded once to float32.

import { OptionError, shown } from "./errors.js";

const LARGEST = 1 - 2 ** -53;
const LARGEST_SEED = (1n << 64n) - 1n;
const ROUNDS = 10;

/** A seed as a BigInt of 64 bits: a safe whole number or a BigInt from 0 to 2**64 - 1. */
export function seed64(name, value) {
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!isWhole || value < 0 || value > LARGEST_SEED) {
    throw new OptionError(`${name} is ${shown(value)}; pass a whole number from 0 to 2**53 - 1, or a BigInt to 2**64 - 1`);
  }
  return BigInt(value);
}

/** The upper and lower 32 bits of a product of two numbers of 32 bits; `out` takes [high, low]. */
function multiply(a, b, out) {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const first = aHigh * bLow + ((aLow * bLow) >>> 16);
  const second = aLow * bHigh + (first % 65536);
  out[0] = aHigh * bHigh + Math.floor(first / 65536) + Math.floor(second / 65536);
  out[1] = Math.imul(a, b) >>> 0;
}

const MULTIPLIERS = [[0xd2e7470e, 0xe14c6c93], [0xca5a8263, 0x95121157]]; // [high, low]
const WEYL = [[0x9e3779b9, 0x7f4a7c15], [0xbb67ae85, 0x84caa73b]];

/** The product of a 64-bit number and multiplier `m`: [high64.hi, high64.lo, low64.hi, low64.lo]. */
function wideProduct(high, low, [mHigh, mLow], out, part) {
  multiply(low, mLow, part);
  const [ll1, ll0] = part;
  multiply(low, mHigh, part);
  const [lh1, lh0] = part;
  multiply(high, mLow, part);
  const [hl1, hl0] = part;
  multiply(high, mHigh, part);
  const [hh1, hh0] = part;
  const middle = ll1 + lh0 + hl0;
  const upper = lh1 + hl1 + hh0 + Math.floor(middle / 2 ** 32);
  out[0] = (hh1 + Math.floor(upper / 2 ** 32)) >>> 0;
  out[1] = upper >>> 0;
  out[2] = middle >>> 0;
  out[3] = ll0;
}

/** An array of 32-bit words, or an OptionError where `count` is no number of values that memory has room for. */
function allocated(length, count) {
  if (Number.isSafeInteger(count) && count >= 0) {
    try {
      return new Uint32Array(length);
    } catch {
      // There is no memory for so many.
    }
  }
  throw new OptionError(`${shown(count)} values were asked for; pass a whole number from 0 that fits in memory`);
}

/**
 * The first `count` 64-bit words of a (seed, stream) pair, as pairs of 32 bits: Uint32Array (2 * count), the upper
 * half of each word first.
 */
export function philoxWords(count, seed, stream = 0) {
  const keyWords = [seed64("seed", seed), seed64("stream", stream)];
  const words = allocated(2 * count, count);
  const key = new Float64Array(4);
  const [a, b, part] = [new Float64Array(4), new Float64Array(4), [0, 0]];
  const x = new Uint32Array(8); // four words of the counter, the upper half of each first
  for (let at = 0, block = 1; at < 2 * count; at += 8, block++) {
    x.fill(0);
    x[0] = Math.floor(block / 2 ** 32);
    x[1] = block;
    keyWords.forEach((word, i) => {
      key[2 * i] = Number(word >> 32n);
      key[2 * i + 1] = Number(word & 0xffffffffn);
    });
    for (let round = 0; round < ROUNDS; round++) {
      wideProduct(x[0], x[1], MULTIPLIERS[0], a, part);
      wideProduct(x[4], x[5], MULTIPLIERS[1], b, part);
      x[0] = b[0] ^ x[2] ^ key[0];
      x[1] = b[1] ^ x[3] ^ key[1];
      x[4] = a[0] ^ x[6] ^ key[2];
      x[5] = a[1] ^ x[7] ^ key[3];
      x[2] = b[2];
      x[3] = b[3];
      x[6] = a[2];
      x[7] = a[3];
      for (let i = 0; i < 2; i++) {
        const low = key[2 * i + 1] + WEYL[i][1];
        key[2 * i] = (key[2 * i] + WEYL[i][0] + Math.floor(low / 2 ** 32)) % 2 ** 32;
        key[2 * i + 1] = low % 2 ** 32;
      }
    }
    words.set(x.subarray(0, Math.min(8, 2 * count - at)), at);
  }
  return words;
}

/**
 * The first `count` standard normal values of a (seed, stream) pair, the same as `vae_edge.standard_normal`.
 *
 * @param {number} count
 * @param {{seed: number | bigint, stream?: number | bigint}} key
 * @returns {Float32Array}
 */
export function standardNormal(count, { seed, stream = 0 } = {}) {
  const words = philoxWords(count, seed, stream);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const whole = words[2 * i] * 2 ** 21 + (words[2 * i + 1] >>> 11);
    values[i] = normalQuantile(Math.min((whole + 0.5) * 2 ** -53, LARGEST));
  }
  return values;
}

// AS 241 PPND16, numerators and denominators, the constant terms first.
const CENTRE = [
  [3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125, 45921.953931549871457,
    67265.770927008700853, 33430.575583588128105, 2509.0809287301226727],
  [1.0, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
    39307.89580009271061, 28729.085735721942674, 5226.495278852854561],
];
const MIDDLE = [
  [1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
    1.27045825245236838258, 2.4178072517745061177e-1, 2.27238449892691845833e-2, 7.7454501427834140764e-4],
  [1.0, 2.05319162663775882187, 1.6763848301838038494, 6.8976733498510000455e-1, 1.4810397642748007459e-1,
    1.51986665636164571966e-2, 5.475938084995344946e-4, 1.05075007164441684324e-9],
];
const TAIL = [
  [6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 2.9656057182850489123e-1,
    2.6532189526576123093e-2, 1.2426609473880784386e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7],
  [1.0, 5.9983220655588793769e-1, 1.3692988092273580531e-1, 1.48753612908506148525e-2, 7.868691311456132591e-4,
    1.84631831751005468180e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15],
];
const SERIES = Array.from({ length: 12 }, (_, i) => 1 / (2 * i + 1));
const LN2_HIGH = 6.93147180369123816490e-1; // ln 2 in two parts, the first with 21 zero bits at its end
const LN2_LOW = 1.90821492927058770002e-10;
const SQRT_HALF = 0.7071067811865476;
const BITS = new DataView(new ArrayBuffer(8));

/** Inverse of the standard normal distribution function for 0 < p < 1, in the order of operations of the format. */
export function normalQuantile(p) {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) return q * ratio(CENTRE, 0.180625 - q * q);
  const r = Math.sqrt(-naturalLog(q < 0 ? p : 1 - p));
  const size = r > 5 ? ratio(TAIL, r - 5) : ratio(MIDDLE, r - 1.6);
  return q < 0 ? -size : size;
}

function ratio([over, under], r) {
  return horner(over, r) / horner(under, r);
}

function horner(terms, r) {
  let total = terms[terms.length - 1] * r;
  for (let i = terms.length - 2; i > 0; i--) {
    total += terms[i];
    total *= r;
  }
  return total + terms[0];
}

/** Natural logarithm of a positive normal number from +, -, * and / alone: a platform's own may differ in a bit. */
function naturalLog(x) {
  BITS.setFloat64(0, x);
  const high = BITS.getUint32(0);
  let power = (high >>> 20) - 1022;
  BITS.setUint32(0, (high & 0xfffff) | (1022 << 20)); // a mantissa in [0.5, 1)
  let mantissa = BITS.getFloat64(0);
  if (mantissa < SQRT_HALF) {
    mantissa *= 2;
    power -= 1;
  }
  const s = (mantissa - 1) / (mantissa + 1);
  return power * LN2_HIGH + (2 * s * horner(SERIES, s * s) + power * LN2_LOW);
}

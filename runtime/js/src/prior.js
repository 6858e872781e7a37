// Latents drawn from a bundle's prior: the same bits on every device for one seed. Stream 0 of a seed holds the
// normal noise, stream 1 the words that choose a component or a code.

import { BundleInvalid, OptionError } from "./errors.js";
import { elementCount } from "./manifest.js";
import { philoxWords, standardNormal } from "./noise.js";
import { littleEndian } from "./tensors.js";

const CHOICES = 1;
const ONE = 0xffffffff; // a stored 2**32 - 1 stands for 2**32, which no word reaches

/** The numbers of a prior's member: `tables` of cumulated probabilities, and `means` and `stds` of a mixture. */
export function readPrior(latent, bytes) {
  const { kind, components } = latent.prior;
  const codes = kind === "categorical" ? latent.codebook : components;
  const rows = kind === "categorical" ? components : 1;
  const tables = littleEndian(bytes.subarray(0, 4 * rows * codes), "uint32");
  const numbers = littleEndian(bytes.subarray(4 * rows * codes), "float32");
  const [means, stds] = [numbers.subarray(0, numbers.length / 2), numbers.subarray(numbers.length / 2)];
  if (!numbers.every(Number.isFinite) || stds.some((std) => std < 0)) {
    throw new BundleInvalid("a number of the prior is not finite, or a standard deviation is negative");
  }
  for (let row = 0; row < rows; row++) {
    const table = tables.subarray(row * codes, (row + 1) * codes);
    if (table.some((c, i) => i > 0 && c < table[i - 1]) || table[codes - 1] !== ONE) {
      throw new BundleInvalid("the cumulated probabilities of the prior do not ascend to 1");
    }
  }
  return { tables, means, stds, codes, rows };
}

/** n * positions choices: one per position, from its own table or from the one there is. */
function choose({ tables, codes, rows }, n, positions, seed) {
  const words = philoxWords(n * positions, seed, CHOICES);
  return Array.from({ length: n * positions }, (_, i) => {
    const word = Math.min(words[2 * i], ONE - 1);
    const start = rows > 1 ? (i % positions) * codes : 0;
    // The number of values but the last that are <= word.
    let [low, high] = [0, codes - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tables[start + middle] <= word) low = middle + 1;
      else high = middle;
    }
    return low;
  });
}

/**
 * `n` latents as one array: Float32Array, or BigInt64Array for codes.
 *
 * @param numbers of `readPrior`, or null where the prior has none.
 */
export function draw(latent, numbers, n, { seed, temperature }) {
  const { kind, source } = latent.prior;
  const size = elementCount(latent.shape);
  if (kind === "none") {
    throw new OptionError(`this model cannot be sampled: ${source}. decode(z) takes latents of your own`);
  }
  if (kind === "categorical") {
    if (temperature !== 1) throw new OptionError("a table of code probabilities has no temperature: leave it at 1");
    return BigInt64Array.from(choose(numbers, n, size, seed), BigInt);
  }
  const noise = standardNormal(n * size, { seed });
  const scale = Math.fround(temperature);
  for (let i = 0; i < noise.length; i++) noise[i] *= scale;
  if (kind === "standard_normal") return noise;
  choose(numbers, n, 1, seed).forEach((component, row) => {
    for (let i = 0; i < size; i++) {
      const from = component * size + i;
      const place = row * size + i;
      noise[place] = numbers.means[from] + Math.fround(numbers.stds[from] * noise[place]);
    }
  });
  return noise;
}

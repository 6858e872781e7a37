// What the tests of the package share: the corpus, the engines, damaged bundles.

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const PACKAGE = join(ROOT, "runtime", "js");
export const CORPUS = join(ROOT, "tests", "corpus");

/** The folder with the packages of package.json, where `make test-js` installed them; undefined elsewhere. */
export const PACKAGES = process.env.VAE_EDGE_JS;

/** For tests that need an engine: the reason why they are skipped, or false. */
export const noEngine = PACKAGES ? false : "make test-js installs onnxruntime-node and onnxruntime-web";

/** Names of all bundles of the corpus. */
export const BUNDLES = readdirSync(CORPUS).filter((name) => name.endsWith(".vaeb")).sort();

/** The bytes of a bundle of the corpus, in memory of their own. */
export function bundle(name) {
  return new Uint8Array(readFileSync(join(CORPUS, name)));
}

const require = PACKAGES ? createRequire(join(PACKAGES, "package.json")) : null;

/** An installed package. */
export async function installed(name) {
  return import(pathToFileURL(require.resolve(name)).href);
}

/** `node`: native. `wasm`: the build for browsers, one thread. */
export async function engine(kind) {
  if (kind === "node") return (await installed("onnxruntime-node")).default;
  const ort = await installed("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  return ort;
}

/** A copy of bytes with one bit changed. */
export function flipped(bytes, at, bit = 0) {
  const copy = bytes.slice();
  copy[at] ^= 1 << bit;
  return copy;
}

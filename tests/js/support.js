// What the tests of the package share: the corpus, the engines, damaged bundles.

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { crc32 } from "../../runtime/js/src/checksums.js";
import { Bundle } from "../../runtime/js/src/bundle.js";

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

/** UTF-8 bytes. */
export const text = (value) => new TextEncoder().encode(value);

/** The same archive with another manifest, packed as vae-edge packs. */
export async function withManifest(bytes, change) {
  const opened = await Bundle.open(bytes);
  const plain = JSON.parse(new TextDecoder().decode(await opened.read("manifest.json")));
  change(plain);
  const members = new Map([["manifest.json", text(JSON.stringify(plain))]]);
  for (const name of Object.keys(opened.manifest.members).sort()) members.set(name, await opened.read(name));
  return packed(members);
}

/** A ZIP in the one encoding of the format. */
function packed(members) {
  const [pieces, directory] = [[], []];
  let position = 0;
  const number = (value, size) => Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) % 256);
  for (const [name, data] of members) {
    const padding = (64 - ((position + 34 + name.length) % 64)) % 64;
    const sizes = [number(crc32(data), 4), number(data.length, 4), number(data.length, 4)];
    const common = [number(20, 2), number(0, 6), number(33, 2), ...sizes, number(name.length, 2)];
    pieces.push(number(0x04034b50, 4), ...common, number(4 + padding, 2), text(name));
    pieces.push(number(0x5645, 2), number(padding, 2), new Uint8Array(padding), data);
    directory.push(number(0x02014b50, 4), number(20, 2), ...common, new Uint8Array(12), number(position, 4), text(name));
    position += 34 + name.length + padding + data.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = number(members.size, 2);
  const end = [number(0x06054b50, 4), number(0, 4), count, count, number(size, 4), number(position, 4), number(0, 2)];
  return new Uint8Array(Buffer.concat([...pieces, ...directory, ...end]));
}

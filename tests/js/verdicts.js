// Reads inputs as test_scanner.py writes them (length, bytes, ...) and prints what becomes of each, one a line.

import { readFileSync } from "node:fs";
import { Bundle } from "../../runtime/js/src/bundle.js";
import { VaeEdgeError } from "../../runtime/js/src/errors.js";
import { readManifest } from "../../runtime/js/src/manifest.js";
import { scan } from "../../runtime/js/src/onnx-scan.js";

const READERS = {
  scanner: scan,
  manifest: readManifest,
  archive: async (bytes) => {
    const bundle = await Bundle.open(bytes);
    await bundle.verifyMembers();
    for (const [name, { graphs }] of Object.entries(bundle.manifest.variants)) {
      for (const graph of Object.keys(graphs)) await bundle.graph(name, graph);
    }
  },
};

const [target, path] = process.argv.slice(2);
const all = new Uint8Array(readFileSync(path));
const view = new DataView(all.buffer);
const names = [];
for (let at = 0; at < all.length; ) {
  const size = view.getUint32(at, true);
  const bytes = all.slice(at + 4, at + 4 + size);
  at += 4 + size;
  try {
    await READERS[target](bytes);
    names.push("accepted");
  } catch (error) {
    names.push(error instanceof VaeEdgeError ? `${error.name} ${error.message}` : `BUG ${error.stack}`);
  }
}
console.log(JSON.stringify(names));

// Run the conformance cases in Node and print the outcome as tests/conformance/results keeps it.
//
//     VAE_EDGE_JS=.venv/js node tests/js/run_conformance.js node|wasm [ID of a case to leave out]...

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Conformance, outcomes } from "./conformance.js";
import { engine, ROOT } from "./support.js";

const [kind, ...skip] = process.argv.slice(2);
const folder = join(ROOT, "tests", "conformance");
const kept = new Map();
const read = async (path) => {
  if (!kept.has(path)) kept.set(path, new Uint8Array(await readFile(join(folder, path))));
  return kept.get(path);
};
const ort = await engine(kind);
const { cases } = JSON.parse(new TextDecoder().decode(await read("cases.json")));
const outcome = await outcomes(new Conformance(ort, read), cases, { skip });
const name = { node: "JavaScript, Node", wasm: "JavaScript, WebAssembly" }[kind];
const version = ort.env.versions.node ?? ort.env.versions.web;
const packages = { node: "onnxruntime-node", wasm: "onnxruntime-web" };
console.log(JSON.stringify({ language: name, engine: `${packages[kind]} ${version}`, ...outcome }, null, 1));

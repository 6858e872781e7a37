// As vae-worker.js, for ?engine=webgpu.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs";
import { serve } from "./node_modules/vae-edge/src/worker.js";

if (!globalThis.crossOriginIsolated) ort.env.wasm.numThreads = 1;
serve(ort);

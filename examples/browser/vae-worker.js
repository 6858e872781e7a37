// The session runs here, so that the page never waits.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { serve } from "./node_modules/vae-edge/src/worker.js";

// Threads need headers that `python -m http.server` does not send.
if (!globalThis.crossOriginIsolated) ort.env.wasm.numThreads = 1;
serve(ort);

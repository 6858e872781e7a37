// The worker of worker.test.js.
import { parentPort } from "node:worker_threads";
import { serve } from "../../runtime/js/src/worker.js";
import { engine } from "./support.js";

serve(await engine("node"), parentPort);

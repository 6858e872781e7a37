// A session in a worker: creating one takes over a second in a browser, and a run blocks the thread that it is on.
//
// The worker's own file is three lines, so that a bundler and a plain server find it alike:
//
//     import * as ort from "onnxruntime-web/wasm";
//     import { serve } from "vae-edge/worker";
//     serve(ort);

import { Bundle } from "./bundle.js";
import { BackendError, ERRORS, OptionError, SessionClosed, VaeEdgeError } from "./errors.js";
import { open } from "./session.js";
import { verify } from "./verification.js";

const METHODS = ["score", "encode", "decode", "reconstruct", "sample", "latents", "thresholdFor"];

/** Listen on a Worker, a MessagePort, or a port of Node. */
function listen(port, heard) {
  if (port.addEventListener) port.addEventListener("message", (event) => heard(event.data));
  else port.on("message", heard);
  port.start?.();
}

/** In the worker: answer the calls of `connect`. */
export function serve(ort, port = globalThis) {
  let [vae, bundle, session] = [null, null, undefined];
  const answer = {
    open: async (source, options) => {
      if (vae) throw new OptionError("this worker has a session already: start one worker for each");
      bundle = await Bundle.open(source);
      vae = await open(bundle, { ...options, ort });
      ({ session } = options);
      return { manifest: structuredClone(plain(vae.manifest)), heads: [...vae.heads], info: plain(vae.info) };
    },
    verify: async () => verify(bundle, { ort, session }),
    close: async () => vae?.close(),
  };
  for (const name of METHODS) answer[name] = async (...given) => plain(await vae[name](...given));
  listen(port, async (message) => {
    const { id, method, given } = message ?? {};
    if (typeof id !== "number") return;
    try {
      if (!vae && method !== "open" && method !== "close") throw new SessionClosed("no bundle was opened in this worker");
      port.postMessage({ id, result: await answer[method](...given) });
    } catch (error) {
      const { name, message: text, problem = text, path, member, needed } = error;
      port.postMessage({ id, error: { name, text, problem, path, member, needed } });
    }
  });
}

/** Values that can be posted: getters are read where they have something to give. */
function plain(value) {
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(plain);
  const names = new Set(Object.keys(value));
  for (let of = Object.getPrototypeOf(value); of && of !== Object.prototype; of = Object.getPrototypeOf(of)) {
    for (const [name, { get }] of Object.entries(Object.getOwnPropertyDescriptors(of))) if (get) names.add(name);
  }
  const made = {};
  for (const name of names) {
    try {
      made[name] = plain(value[name]);
    } catch (error) {
      if (!(error instanceof VaeEdgeError)) throw error; // a result that was not asked for is left out
    }
  }
  return made;
}

/**
 * On the page: open a bundle in a worker whose script calls `serve`.
 *
 * @param worker a Worker, or a worker_threads.Worker of Node; the session ends it when it is closed.
 * @param source as of `open`; bytes are copied to the worker.
 * @param {object} options variant and session, as of `open`.
 */
export async function connect(worker, source, options = {}) {
  const waiting = new Map();
  let last = 0;
  let ended = null;
  const fail = (error) => {
    ended ??= new BackendError(`the worker failed: ${error?.message ?? "its script could not be loaded"}`);
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  listen(worker, ({ id, result, error }) => {
    const call = waiting.get(id);
    waiting.delete(id);
    if (error) call?.reject(rebuilt(error));
    else call?.resolve(result);
  });
  if (worker.addEventListener) worker.addEventListener("error", fail);
  else worker.on("error", fail);
  const ask = (method, ...given) =>
    new Promise((resolve, reject) => {
      if (ended) return reject(ended);
      const id = ++last;
      waiting.set(id, { resolve, reject });
      try {
        worker.postMessage({ id, method, given });
      } catch (error) {
        waiting.delete(id);
        reject(new OptionError(`${method} was given what cannot be sent to a worker: ${error.message}`));
      }
    });
  let facts;
  try {
    facts = await ask("open", absolute(source), options);
  } catch (error) {
    await worker.terminate?.();
    throw error;
  }
  const session = { ...facts, verify: () => ask("verify") };
  for (const name of METHODS) session[name] = (...given) => ask(name, ...given);
  session.close = async () => {
    if (ended instanceof SessionClosed) return;
    await ask("close");
    ended = new SessionClosed("this session is closed: open the bundle again");
    await worker.terminate?.();
  };
  return session;
}

/** A relative address is that of the page, and not of the worker's script. */
function absolute(source) {
  if (source instanceof URL) return source.href;
  const isAddress = typeof source === "string" && globalThis.location !== undefined;
  return isAddress ? new URL(source, globalThis.location.href).href : source;
}

function rebuilt({ name, text, problem, path, member, needed }) {
  const Kind = ERRORS[name];
  if (!Kind) return new BackendError(`the worker failed: ${name}: ${text}`);
  const error = Object.create(Kind.prototype);
  Error.captureStackTrace?.(error, rebuilt);
  for (const [key, value] of Object.entries({ name, message: text, problem, path, member, needed })) {
    if (value !== undefined) Object.defineProperty(error, key, { value, writable: true, configurable: true });
  }
  return error;
}

// ONNX Runtime as the caller passes it in: one engine session per graph, made when the graph is first run.

import { BackendError, OptionError, ProviderUnavailable, SessionClosed, shown } from "./errors.js";
import { Tensor } from "./tensors.js";

/** Of the builds for browsers: they start once for all sessions, and run one thing at a time. */
const queues = new WeakMap();

/** Run `action` after those that were queued for `owner` before. */
function inTurn(owner, action) {
  const turn = (queues.get(owner) ?? Promise.resolve()).then(action);
  queues.set(owner, turn.catch(() => {}));
  return turn;
}

function firstLine(error) {
  return String(error?.message ?? error).trim().split("\n")[0].slice(0, 300);
}

/**
 * x86 CPUs without VNNI add products of unsigned and signed bytes in 16 bits, and such sums may saturate. Node does not
 * tell whether a CPU has VNNI, and the engine's build for browsers adds exactly.
 */
const MAY_SATURATE = ["x64", "ia32"].includes(globalThis.process?.arch);

export class Engine {
  #sessions = new Map();

  /**
   * @param ort `onnxruntime-web` or `onnxruntime-node`, imported by the caller.
   * @param {(graph: string) => Promise<Uint8Array>} load gives the verified bytes of a graph.
   * @param {object} options of the engine's sessions, such as executionProviders.
   * @param {(graph: string) => boolean} isSigned whether 8-bit weights of a graph that was loaded have a sign.
   */
  constructor(ort, load, options, isSigned) {
    if (typeof ort?.InferenceSession?.create !== "function" || typeof ort.Tensor !== "function") {
      throw new OptionError(
        `ort is ${shown(ort)}; import onnxruntime-node or onnxruntime-web/wasm and pass it: open(bytes, {ort})`,
      );
    }
    this.ort = ort;
    this.load = load;
    this.options = options;
    this.isSigned = isSigned;
    if (options === null || typeof options !== "object" || Array.isArray(options)) {
      throw new OptionError(`session is ${shown(options)}; pass options of the engine, such as {executionProviders: ["wasm"]}`);
    }
    const versions = ort.env?.versions ?? {};
    this.isNode = versions.node !== undefined;
    this.version = versions.node ?? versions.web ?? versions.common ?? "";
    const providers = options.executionProviders ?? [this.isNode ? "cpu" : "wasm"];
    if (!Array.isArray(providers) || !providers.length) {
      throw new OptionError(`executionProviders is ${shown(providers)}; pass a list such as ["wasm"]`);
    }
    this.providers = providers.map((provider) => (typeof provider === "string" ? provider : provider?.name));
    if (!this.providers.every((name) => typeof name === "string")) {
      throw new OptionError(`executionProviders is ${shown(providers)}; pass names, or objects with a name`);
    }
  }

  #create(graph) {
    if (!this.#sessions.has(graph)) {
      const creating = this.load(graph).then((bytes) =>
        inTurn(this.ort, async () => {
          const options = { executionProviders: this.providers, logSeverityLevel: 4, ...this.options };
          // No integer kernel is chosen at this level.
          if (this.isNode && MAY_SATURATE && this.isSigned(graph)) options.graphOptimizationLevel = "basic";
          try {
            return await this.ort.InferenceSession.create(bytes, options);
          } catch (error) {
            throw this.#refused(graph, error);
          }
        }),
      );
      this.#sessions.set(graph, creating);
      creating.catch(() => this.#sessions.delete(graph)); // the next call tries again
    }
    return this.#sessions.get(graph);
  }

  #refused(graph, error) {
    const text = firstLine(error);
    const isAbsent = /no available backend|not supported|failed to get GPU adapter|backend not found|load shared library/i.test(text);
    if (isAbsent) {
      const problem = `onnxruntime ${this.version} does not offer ${this.providers.join(", ")} here (${text})`;
      return new ProviderUnavailable(`${problem}: name another in {session: {executionProviders}}`, { cause: error });
    }
    return new BackendError(`onnxruntime ${this.version} refused graph '${graph}': ${text}`, { cause: error });
  }

  /** Run one graph of the bundle; tensors by name, in the order of `names`. */
  async run(graph, feeds, names) {
    const session = await this.#create(graph);
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, { dtype, data, shape }]) => [name, new this.ort.Tensor(dtype, data, shape)]),
    );
    const go = () => session.run(inputs, names);
    let results;
    try {
      results = this.isNode ? await go() : await inTurn(this.ort, go);
    } catch (error) {
      throw new BackendError(`onnxruntime failed running graph '${graph}': ${firstLine(error)}`, { cause: error });
    }
    return Promise.all(
      names.map(async (name) => {
        const result = results[name];
        const data = result.getData ? await result.getData() : result.data; // a GPU's lies elsewhere at first
        const tensor = new Tensor(result.type, data.slice(), [...result.dims]);
        result.dispose?.();
        return tensor;
      }),
    );
  }

  async close() {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    for (const creating of sessions) {
      const session = await creating.catch(() => null);
      await session?.release?.();
    }
  }
}

/** Counts calls, so that `close` waits for those that run and later ones are refused. */
export class Gate {
  #running = 0;
  #closed = false;
  #idle = [];

  async enter(action) {
    if (this.#closed) throw new SessionClosed("this session is closed: open the bundle again");
    this.#running++;
    try {
      return await action();
    } finally {
      this.#running--;
      if (!this.#running) this.#idle.splice(0).forEach((resolve) => resolve());
    }
  }

  get closed() {
    return this.#closed;
  }

  async close() {
    this.#closed = true;
    if (this.#running) await new Promise((resolve) => this.#idle.push(resolve));
  }
}

// Rows in, decisions out: windows, guard, scores and alarm over a source without end, in constant memory.

import { InputError, OptionError, shown } from "./errors.js";
import { Alarm, faultNames, Guard } from "./guard.js";
import { elementCount } from "./manifest.js";
import { checkRows, Status, Tensor } from "./tensors.js";

const MOST_WINDOWS = 256; // scored in one call

/** The part of a stream that needs no engine: rows to windows, with what the guard said of them. */
class Windows {
  #length;
  #stride;
  #skip = 0;
  #held = [];
  #seen = 0;

  constructor(length, stride) {
    this.#length = length;
    this.#stride = stride;
  }

  /** Add a row; the window that it completes, or null. */
  add(row, flags, time) {
    const index = this.#seen++;
    if (this.#skip) {
      this.#skip--;
      return null;
    }
    this.#held.push({ row, flags });
    if (this.#held.length < this.#length) return null;
    const rows = this.#held;
    const all = new Uint8Array(flags.length);
    for (const each of rows) each.flags.forEach((flag, i) => (all[i] |= flag));
    const window = { rows: rows.map((each) => each.row), flags: all, index, time };
    this.#held = rows.slice(this.#stride);
    this.#skip = Math.max(0, this.#stride - rows.length);
    return window;
  }
}

/** Blocks of an item: a typed array of rows, `{row, time}`, or `{data, shape, times}`. */
function rowsOf(item, spec, index) {
  const { shape, dtype } = spec;
  const what = `row ${index} of the stream`;
  const isOne = item !== null && typeof item === "object" && "row" in item;
  const times = isOne ? (item.time === undefined ? null : [item.time]) : (item?.times ?? null);
  const rows = checkRows(isOne ? item.row : item, { shape, dtype, what });
  const isTimed = times === null || (times.length === rows.length && Array.from(times).every((t) => typeof t === "number"));
  if (!isTimed) throw new InputError(`the times at ${what} are ${shown(times)}; pass one number of seconds for each row`);
  return { rows, times };
}

/**
 * Decisions about the rows of a source, as they come: an async iterator of events. `VAE.stream` calls it.
 *
 * @param vae a session, or what stands in for one: manifest, heads, score.
 * @param source an iterable or async iterable; see `rowsOf`.
 */
export async function* decisions(vae, source, { stride = null, guard = null, alarm = null } = {}) {
  const { input, condition, stream } = vae.manifest;
  const isWindow = input.layout === "time_features";
  const length = isWindow ? input.shape[0] : 1;
  const step = stride ?? length;
  if (!Number.isSafeInteger(step) || step < 1 || (length === 1 && step !== 1)) {
    throw new OptionError(`stride is ${shown(stride)}; pass the rows between windows, from 1; 1 for single rows`);
  }
  if (condition !== null) throw new OptionError("a stream has no conditions: score the rows of a conditional model with score()");
  const rules = { guard: guard ?? stream?.guard, alarm: alarm ?? stream?.alarm };
  if (!rules.guard || !rules.alarm) {
    throw new OptionError("this bundle has no rules for streams: pass guard and alarm, or export it again");
  }
  if (typeof source?.[Symbol.asyncIterator] !== "function" && typeof source?.[Symbol.iterator] !== "function") {
    throw new InputError(`source is ${shown(source)}; pass an iterable of rows`);
  }
  const row = { shape: isWindow ? input.shape.slice(1) : input.shape, dtype: input.dtype };
  const [watch, bell, windows] = [new Guard(rules.guard, input), new Alarm(rules.alarm), new Windows(length, step)];
  let seen = 0;
  for await (const item of source) {
    const { rows, times } = rowsOf(item, row, seen);
    const completed = [];
    for (let i = 0; i < rows.length; i++) {
      const [values, time] = [rows.row(i), times === null ? null : times[i]];
      const window = windows.add(values, watch.check(values, time).flags, time);
      if (window) completed.push(window);
    }
    seen += rows.length;
    for (let start = 0; start < completed.length; start += MOST_WINDOWS) {
      yield* decided(vae, completed.slice(start, start + MOST_WINDOWS), bell);
    }
  }
}

/** Events of some windows: those without a fault are scored together. */
async function* decided(vae, windows, bell) {
  const { input } = vae.manifest;
  const size = elementCount(input.shape);
  const valid = windows.filter(({ flags }) => !flags.some(Boolean));
  const x = new (input.dtype === "uint8" ? Uint8Array : Float32Array)(valid.length * size);
  valid.forEach(({ rows }, i) => rows.forEach((values, k) => x.set(values, i * size + k * values.length)));
  const scores = await vae.score(new Tensor(input.dtype, x, [valid.length, ...input.shape]));
  const isAnomaly = scores.threshold === null ? null : scores.isAnomaly;
  const pValue = scores.calibrated ? scores.pValue : null;
  for (const window of windows) {
    const i = valid.indexOf(window);
    const status = i < 0 ? "invalid_input" : EVENT_STATUS[scores.status[i]];
    const isScored = status === "ok";
    const decision = isScored && isAnomaly ? isAnomaly[i] : null;
    const p = isScored && pValue ? pValue[i] : null;
    const faulty = [...window.flags.keys()].filter((feature) => window.flags[feature]);
    yield {
      kind: "decision",
      index: window.index,
      time: Number.isNaN(window.time) ? null : window.time,
      status,
      score: isScored ? scores.score[i] : null,
      pValue: p,
      isAnomaly: decision,
      faults: faultNames(window.flags.reduce((all, flag) => all | flag, 0)),
      faultFeatures: faulty.map((feature) => input.names[feature] ?? String(feature)),
      alarm: bell.step(decision, p),
    };
  }
}

const EVENT_STATUS = {
  [Status.OK]: "ok", [Status.UNKNOWN_CODE]: "unknown_code",
  [Status.NON_FINITE_INPUT]: "non_finite_output", [Status.NON_FINITE_OUTPUT]: "non_finite_output",
};

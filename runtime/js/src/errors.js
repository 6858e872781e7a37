// Every error that the package raises on purpose; names and meaning are those of the Python runtime.

const LONGEST_LINE = 2000; // a hostile file may hold megabytes of names
// Controls, what turns the direction of writing, what nobody sees, and halves of surrogate pairs.
const HIDDEN =
  /[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu;

/** Text on one line, with every character that a terminal or a page would obey, or hide, as its escape. */
export function printable(text) {
  const shown = text.length > LONGEST_LINE ? `${text.slice(0, LONGEST_LINE)}...` : text;
  return shown.replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** A value in a message: one line, and no million of elements. */
export function shown(value) {
  let text;
  if (typeof value === "string") text = JSON.stringify(value);
  else if (ArrayBuffer.isView(value)) text = `a ${value.constructor.name} of ${value.length ?? value.byteLength}`;
  else if (typeof value === "bigint") text = `${value}n`;
  else if (Array.isArray(value)) text = `[${value.slice(0, 8).map(shown).join(", ")}]`;
  else if (value !== null && typeof value === "object") text = `a ${value.constructor?.name ?? "object"}`;
  else text = String(value);
  return printable(text.length <= 60 ? text : `${text.slice(0, 59)}…`);
}

export class VaeEdgeError extends Error {
  constructor(problem, details = {}) {
    super(printable(problem), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.problem = problem;
  }
}

/** A bundle that is not accepted; `member` is the entry to blame, `path` the address where there is one. */
export class BundleError extends VaeEdgeError {
  constructor(problem, { path = "", member = null } = {}) {
    const where = path + (member ? ` [${member}]` : "");
    super(where.trim() ? `${where.trim()}: ${problem}` : problem);
    this.problem = problem;
    this.path = path;
    this.member = member;
  }
}

/** The bytes are not the ones the exporter wrote. */
export class BundleCorrupt extends BundleError {}
/** The bytes are intact and break a rule of the format. */
export class BundleInvalid extends BundleError {}
/** The bundle asks for a newer runtime. */
export class BundleTooNew extends BundleError {}
/** An ONNX graph with something in it that the device will not run. */
export class GraphRefused extends VaeEdgeError {}
/** An encoder and a decoder that were not exported together. */
export class PairMismatch extends VaeEdgeError {}
/** An input array of the wrong type, length or shape. */
export class InputError extends VaeEdgeError {}
/** An option with a value that is not valid; the message lists the valid ones. */
export class OptionError extends VaeEdgeError {}
/** The bundle carries no calibration, or one that cannot back what was asked; `needed` rows would do. */
export class CalibrationError extends VaeEdgeError {
  constructor(problem, { needed = null } = {}) {
    super(problem);
    this.needed = needed;
  }
}
/** The engine is not to be had as asked, or is too old for the bundle. */
export class ProviderUnavailable extends VaeEdgeError {}
/** The engine failed while loading or running a graph. */
export class BackendError extends VaeEdgeError {}
/** The session was closed. */
export class SessionClosed extends VaeEdgeError {}

export const ERRORS = {
  VaeEdgeError, BundleError, BundleCorrupt, BundleInvalid, BundleTooNew, GraphRefused, PairMismatch, InputError,
  OptionError, CalibrationError, ProviderUnavailable, BackendError, SessionClosed,
};

/** The same error with what is known of where it happened. */
export function located(error, { path = "", member = null } = {}) {
  if (!(error instanceof BundleError)) return error;
  return new error.constructor(error.problem, { path: error.path || path, member: error.member ?? member });
}

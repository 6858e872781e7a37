// Arrays with a shape, and the one place where arrays from outside are checked.

import { InputError, shown } from "./errors.js";
import { elementCount } from "./manifest.js";

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int64: BigInt64Array, uint32: Uint32Array };

/** What became of one row. */
export const Status = Object.freeze({ OK: 0, NON_FINITE_INPUT: 1, NON_FINITE_OUTPUT: 2, UNKNOWN_CODE: 3 });

/** Names of `Status` by number, as the Python runtime writes them. */
export const STATUS_NAMES = Object.freeze(["ok", "non_finite_input", "non_finite_output", "unknown_code"]);

/** A typed array and its shape; rows lie one after the other, in C order. */
export class Tensor {
  constructor(dtype, data, shape) {
    this.dtype = dtype;
    this.data = data;
    this.shape = shape;
  }

  /** Number of rows. */
  get length() {
    return this.shape[0];
  }

  /** The elements of one row, without a copy. */
  row(index) {
    const size = elementCount(this.shape.slice(1));
    return this.data.subarray(index * size, (index + 1) * size);
  }
}

export function empty(dtype, shape) {
  return new Tensor(dtype, new ARRAYS[dtype](elementCount(shape)), shape);
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Numbers of little-endian bytes, as a copy that is aligned. */
export function littleEndian(bytes, dtype) {
  const copy = bytes.slice();
  const size = ARRAYS[dtype].BYTES_PER_ELEMENT;
  if (!IS_LITTLE_ENDIAN) for (let at = 0; at < copy.length; at += size) copy.subarray(at, at + size).reverse();
  return new ARRAYS[dtype](copy.buffer, 0, Math.floor(copy.length / size));
}

/**
 * `x` as a tensor (n, *shape) of exactly `dtype`: a typed array of whole rows, or an object with `data` and `shape`
 * (or `dims`, as tensors of ONNX Runtime have). Nothing is cast. The caller's array is copied, and never written to.
 */
export function checkRows(x, { shape, dtype, what = "x" }) {
  const size = elementCount(shape);
  const isArray = ArrayBuffer.isView(x);
  const data = isArray ? x : x?.data;
  const dims = isArray ? null : x?.shape ?? x?.dims;
  const Wanted = ARRAYS[dtype];
  const wanted = `(n${shape.map((n) => `, ${n}`).join("")})`;
  if (!ArrayBuffer.isView(data) || data instanceof DataView) {
    throw new InputError(`${what} is ${shown(x)}, not a typed array: pass ${Wanted.name}.from(...), or {data, shape}`);
  }
  const fits = data instanceof Wanted || (dtype === "uint8" && data instanceof Uint8ClampedArray);
  if (!fits) {
    throw new InputError(`${what} is a ${data.constructor.name}, the model takes ${dtype}: pass a ${Wanted.name}`);
  }
  if (isDetached(data)) throw new InputError(`${what} was transferred to another thread: pass a copy`);
  let rows = size ? data.length / size : 0;
  if (dims !== null) {
    const list = Array.isArray(dims) ? dims.map(Number) : [];
    const same = list.length === shape.length + 1 && shape.every((n, i) => list[i + 1] === Number(n));
    if (!same || !(list[0] >= 0) || list[0] * size !== data.length) {
      const hint = list.join() === shape.join() ? "; put 1 in front of the shape of one row" : "";
      throw new InputError(`${what} has shape ${shown(dims)} and ${data.length} elements, the model takes ${wanted}${hint}`);
    }
    rows = list[0];
  } else if (!Number.isInteger(rows)) {
    throw new InputError(`${what} has ${data.length} elements, which are no whole rows of ${size}: the model takes ${wanted}`);
  }
  return new Tensor(dtype, new Wanted(data), [rows, ...shape]);
}

function isDetached(data) {
  return data.length === 0 && data.buffer.detached === true;
}

/** Whether every element is a finite number. */
export function allFinite({ data, dtype }) {
  if (dtype !== "float32") return true;
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return false;
  return true;
}

/**
 * Status of rows (n,): which hold something that is not finite, or a code outside its range. Such rows of `x` are set
 * to 0, and take the code nearest to 0 where the model looks something up.
 *
 * @param {{column: number | null, low: number, high: number}[]} codes of the manifest's input.
 */
export function replaceBadRows(x, codes = []) {
  const status = new Uint8Array(x.length);
  if (!codes.length && allFinite(x)) return status;
  const width = x.shape[x.shape.length - 1];
  const isOf = (column, place) => column === null || place % width === column;
  for (let i = 0; i < x.length; i++) {
    const row = x.row(i);
    const isKnown = codes.every(({ column, low, high }) =>
      row.every((value, place) => !isOf(column, place) || (value >= low && value <= high)),
    );
    if (!isKnown) status[i] = Status.UNKNOWN_CODE;
    if (x.dtype === "float32" && !row.every(Number.isFinite)) status[i] = Status.NON_FINITE_INPUT;
    if (status[i] === Status.OK) continue;
    row.fill(0);
    for (const { column, low, high } of codes) {
      const code = Math.min(Math.max(0, Number(low)), Number(high));
      row.forEach((_, place) => {
        if (isOf(column, place)) row[place] = code;
      });
    }
  }
  return status;
}

/** Mark rows with an output that is not finite, then set every output of every marked row to NaN, or -1. */
export function blankBadRows(outputs, status) {
  for (const output of outputs) {
    if (allFinite(output)) continue;
    for (let i = 0; i < status.length; i++) {
      if (status[i] === Status.OK && !output.row(i).every(Number.isFinite)) status[i] = Status.NON_FINITE_OUTPUT;
    }
  }
  status.forEach((marked, i) => {
    if (marked) for (const output of outputs) output.row(i).fill(output.dtype === "float32" ? NaN : -1n);
  });
}

/** The feed that a conditional model takes beside n rows; empty for any other model. */
export function checkCondition(condition, spec, n) {
  const absent = condition === undefined || condition === null;
  if (spec === null) {
    if (!absent) throw new InputError("this model takes no condition");
    return {};
  }
  if (absent) {
    const kind = spec.shape.length ? `${spec.dtype} (n, ${spec.shape.join(", ")})` : "a label";
    throw new InputError(`this model is conditional: pass {condition}, ${kind}, for every row`);
  }
  const checked = repeated(condition, spec, n);
  if (checked.length !== n) {
    throw new InputError(`condition has ${checked.length} rows for ${n} rows of x: pass one each, or one for all`);
  }
  if (!allFinite(checked)) throw new InputError("condition holds NaN or infinity");
  if (spec.dtype === "int64") {
    for (const label of checked.data) {
      if (label < spec.low || label > spec.high) {
        throw new InputError(`condition holds ${label}; the model knows the labels ${spec.low} to ${spec.high}`);
      }
    }
  }
  return { condition: checked };
}

/** A condition for each of n rows; one for all is repeated. */
function repeated(condition, spec, n) {
  const { shape, dtype } = spec;
  if (dtype === "int64" && shape.length === 0 && (typeof condition === "bigint" || Number.isSafeInteger(condition))) {
    const tensor = empty(dtype, [n]);
    tensor.data.fill(BigInt(condition));
    return tensor;
  }
  const dims = condition?.shape ?? condition?.dims ?? null;
  const size = elementCount(shape);
  const isOne = ArrayBuffer.isView(condition)
    ? shape.length > 0 && condition.length === size
    : Array.isArray(dims) && dims.join() === shape.join() && dims.length === shape.length;
  if (!isOne) return checkRows(condition, { shape, dtype, what: "condition" });
  const data = ArrayBuffer.isView(condition) ? condition : condition.data;
  const one = checkRows(data, { shape, dtype, what: "condition" });
  const tensor = empty(dtype, [n, ...shape]);
  for (let i = 0; i < n; i++) tensor.row(i).set(one.data);
  return tensor;
}

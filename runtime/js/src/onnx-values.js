// What the scanner knows of the tensors of a graph before an engine runs it: shapes, types, and small constants.

import { decoded } from "./onnx-wire.js";

export const FLOAT = 1;
export const UINT8 = 2;
export const INT8 = 3;
export const INT64 = 7;
export const BOOL = 9;
export const INTEGERS = new Set([2, 3, 6, 7]);
/** Element types that a bundle may use, in ONNX's numbering, to bytes. */
export const ITEM_BYTES = { 1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8 };

/** Arithmetic does not tell; nothing is wrong with the graph. */
export class Unknown extends Error {}

/** Shapes that no engine can put together, for the number of rows that is looked at. */
export class Mismatch extends Error {}

/** Raise `Mismatch` unless the condition holds. */
export function fit(condition, problem) {
  if (!condition) throw new Mismatch(problem);
}

/** `value`, unless it is null or undefined. */
export function need(value) {
  if (value === null || value === undefined) throw new Unknown();
  return value;
}

/** One element of a list, counted from the end where `index` is negative; there must be one. */
export function at(list, index) {
  const value = list[index < 0 ? index + list.length : index];
  fit(value !== undefined, "operands that do not fit the operator");
  return value;
}

/** The one element of a list. */
export function only(list) {
  fit(list.length === 1, "operands that do not fit the operator");
  return list[0];
}

/** Pairs of two lists of one length. */
export function pairs(a, b) {
  fit(a.length === b.length, "operands that do not fit the operator");
  return a.map((value, i) => [value, b[i]]);
}

export function productOf(sizes) {
  return sizes.reduce((product, n) => product * n, 1);
}

/** The product of sizes, a size of 0 counting as 1, or the first partial product above `limit`. */
export function boundedProduct(sizes, limit) {
  let count = 1;
  for (const size of sizes) {
    count *= Math.max(Math.abs(size), 1);
    if (count > limit) break;
  }
  return count;
}

/** An axis counted from the front. */
export function axisOf(axis, rank) {
  fit(-rank <= axis && axis < rank, `axis ${axis} of ${rank} dimensions`);
  return axis < 0 ? axis + rank : axis;
}

/** As numpy's, without a limit on sizes. */
export function broadcast(shapes) {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  const result = new Array(rank).fill(1);
  for (const shape of shapes) {
    shape.forEach((n, i) => {
      const place = i + rank - shape.length;
      if (n === 1) return;
      fit(result[place] === 1 || result[place] === n, `shapes ${JSON.stringify(shapes)} that do not fit each other`);
      result[place] = n;
    });
  }
  return result;
}

export function sameShape(a, b) {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/**
 * Numbers of a small constant: BigInt of integer types, 0 and 1 of bool, else numbers.
 *
 * @typedef {{element: number, shape: number[], data: (number | bigint)[]}} Numbers
 */

/** One tensor. `shape` and `element` are null where arithmetic does not tell. */
export class Value {
  constructor(shape = null, element = null, { isStatic = false, numbers = null, raw = null } = {}) {
    this.shape = shape;
    this.element = element;
    this.isStatic = isStatic; // it follows from constants and shapes alone, and from no row
    this.numbers = numbers;
    this.raw = raw; // the bytes of a constant of any size
  }

  get rank() {
    return this.shape === null ? null : this.shape.length;
  }

  /** The numbers as one flat list, where they are known integers; null elsewhere. */
  integers() {
    if (this.numbers === null || !INTEGERS.has(this.numbers.element)) return null;
    return this.numbers.data.map(Number);
  }
}

/** A static value with its numbers. */
export function known(element, shape, data) {
  return new Value(shape, element, { isStatic: true, numbers: { element, shape, data } });
}

const NOTHING = new Value();

/** One node, with what is known of its inputs; an input that is left out is null. */
export class Node {
  constructor(op, inputs, outputs, attributes, opset) {
    Object.assign(this, { op, inputs, outputs, attributes, opset });
  }

  /** An input; where it is left out one of which nothing is known. */
  input(index) {
    return this.inputs[index] ?? NOTHING;
  }

  has(index) {
    return (this.inputs[index] ?? null) !== null;
  }

  /** The shape of an input; `Unknown` is raised where it is not known. */
  shape(index) {
    return need(this.input(index).shape);
  }

  /** An integer attribute. */
  number(name, otherwise) {
    return this.attributes.get(name)?.integer(3, otherwise) ?? otherwise;
  }

  /** An attribute of integers; null where there is none. */
  numbers(name) {
    const message = this.attributes.get(name);
    return message === undefined ? null : [...message.integers(8)];
  }

  /** As `numbers`, null also where the list is empty. */
  some(name) {
    const numbers = this.numbers(name);
    return numbers?.length ? numbers : null;
  }

  /** An attribute of text. */
  text(name, otherwise) {
    const blob = this.attributes.get(name)?.blobs(4)[0];
    return blob === undefined ? otherwise : decoded(blob);
  }

  /** Integers that opset 18 takes as an input and older ones as an attribute; null where there are none. */
  given(index, name) {
    return this.has(index) ? need(this.input(index).integers()) : this.numbers(name);
  }
}

/** Half precision to a number. */
export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}

/** The nearest number of half precision, ties to even. */
export function toHalf(value) {
  if (!Number.isFinite(value) || value === 0) return value;
  const size = Math.max(2 ** -24, 2 ** (Math.floor(Math.log2(Math.abs(value))) - 10));
  const steps = value / size;
  const floor = Math.floor(steps);
  const rest = steps - floor;
  const rounded = (rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor) * size;
  return Math.abs(rounded) >= 65520 ? Math.sign(value) * Infinity : rounded;
}

/** Numbers of raw little-endian bytes. */
export function fromRaw(raw, element) {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const read = {
    1: (i) => view.getFloat32(4 * i, true),
    2: (i) => BigInt(view.getUint8(i)),
    3: (i) => BigInt(view.getInt8(i)),
    6: (i) => BigInt(view.getInt32(4 * i, true)),
    7: (i) => view.getBigInt64(8 * i, true),
    9: (i) => Number(view.getUint8(i) !== 0),
    10: (i) => fromHalf(view.getUint16(2 * i, true)),
    11: (i) => view.getFloat64(8 * i, true),
  }[element];
  return Array.from({ length: Math.floor(raw.byteLength / ITEM_BYTES[element]) }, (_, i) => read(i));
}

const TO_ELEMENT = {
  1: (v) => Math.fround(Number(v)),
  2: (v) => BigInt.asUintN(8, whole(v)),
  3: (v) => BigInt.asIntN(8, whole(v)),
  6: (v) => BigInt.asIntN(32, whole(v)),
  7: (v) => BigInt.asIntN(64, whole(v)),
  9: (v) => Number(Boolean(v) || Number.isNaN(v)),
  10: (v) => toHalf(Number(v)),
  11: Number,
};

function whole(value) {
  if (typeof value === "bigint") return value;
  if (!Number.isFinite(value)) throw new Unknown();
  return BigInt(Math.trunc(value));
}

/** A list of numbers in an element type, wrapped and rounded as numpy does. */
export function asElement(data, element) {
  return data.map(need(TO_ELEMENT[element]));
}

// The numbers of a node's first output, from inputs whose numbers are known.

import { at, axisOf, broadcast, fit, INTEGERS, Mismatch, need, only, pairs, productOf, Unknown, asElement } from "./onnx-values.js";
import { LIMITS } from "./tables.js";

const isBig = (value) => typeof value === "bigint";
const truth = (test) => (a, b) => Number(test(a, b));

/** a ** b in 64 bits, in 64 steps whatever b is. */
function power(a, b) {
  if (!isBig(a) || !isBig(b)) return Number(a) ** Number(b);
  if (b < 0n) throw new Unknown();
  let result = 1n;
  for (let base = a, rest = b; rest > 0n; rest >>= 1n, base = BigInt.asIntN(64, base * base)) {
    if (rest & 1n) result = BigInt.asIntN(64, result * base);
  }
  return result;
}

/** One arithmetic operation on two numbers of one kind. */
const arithmetic = (operation) => (a, b) => (isBig(a) && isBig(b) ? operation(a, b) : operation(Number(a), Number(b)));

const BINARY = {
  Add: arithmetic((a, b) => a + b), Sub: arithmetic((a, b) => a - b), Mul: arithmetic((a, b) => a * b), Pow: power,
  Sum: arithmetic((a, b) => a + b),
  Equal: truth((a, b) => a == b), Less: truth((a, b) => a < b), Greater: truth((a, b) => a > b),
  LessOrEqual: truth((a, b) => a <= b), GreaterOrEqual: truth((a, b) => a >= b),
  And: truth((a, b) => Boolean(a) && Boolean(b)), Or: truth((a, b) => Boolean(a) || Boolean(b)),
  Xor: truth((a, b) => Boolean(a) !== Boolean(b)),
  Min: (a, b) => (Number.isNaN(a) || a < b ? a : b), Max: (a, b) => (Number.isNaN(a) || a > b ? a : b),
};

const real = (operation) => (x) => operation(Number(x));
const UNARY = {
  Identity: (x) => x, Neg: (x) => -x, Abs: (x) => (x < 0 ? -x : x), Sign: (x) => (isBig(x) ? BigInt(Math.sign(Number(x))) : Math.sign(x)),
  Not: (x) => Number(!x), Floor: (x) => (isBig(x) ? x : Math.floor(x)), Ceil: (x) => (isBig(x) ? x : Math.ceil(x)),
  Round: (x) => (isBig(x) ? x : roundedToEven(x)), Relu: (x) => (x < 0 ? (isBig(x) ? 0n : 0) : x),
  Reciprocal: (x) => (isBig(x) ? quotient(1n, x) : 1 / x),
  IsNaN: (x) => Number(Number.isNaN(x)), IsInf: (x) => Number(x === Infinity || x === -Infinity),
  Sqrt: real(Math.sqrt), Exp: real(Math.exp), Log: real(Math.log), Sin: real(Math.sin), Cos: real(Math.cos),
  Tan: real(Math.tan), Sinh: real(Math.sinh), Cosh: real(Math.cosh), Tanh: real(Math.tanh), Asin: real(Math.asin),
  Acos: real(Math.acos), Atan: real(Math.atan), Asinh: real(Math.asinh), Acosh: real(Math.acosh),
  Atanh: real(Math.atanh), Sigmoid: real((x) => 1 / (1 + Math.exp(-x))), Erf: real(erf),
  Softplus: real((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
};

function roundedToEven(x) {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** The error function by its series and its continued fraction: sizes hang on it in no graph. */
function erf(x) {
  if (!Number.isFinite(x)) return Math.sign(x);
  const size = Math.abs(x);
  if (size > 4) return Math.sign(x);
  let term = size;
  let sum = size;
  for (let n = 1; n < 200 && Math.abs(term) > 1e-18; n++) {
    term *= (-size * size) / n;
    sum += term / (2 * n + 1);
  }
  return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
}

function quotient(a, b) {
  if (b === 0n) throw new Unknown();
  return a / b; // towards zero
}

const floorMod = (a, b) => {
  const rest = a % b;
  return rest && rest < 0 !== b < 0 ? rest + b : rest;
};

const REDUCING = {
  ReduceSum: (list) => list.reduce(BINARY.Add),
  ReduceProd: (list) => list.reduce(BINARY.Mul),
  ReduceMax: (list) => list.reduce(BINARY.Max),
  ReduceMin: (list) => list.reduce(BINARY.Min),
  ReduceMean: (list) => list.map(Number).reduce((a, b) => a + b) / list.length,
};

/** Strides of a shape in elements. */
function stridesOf(shape) {
  const strides = new Array(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

/** For each place of `shape` in C order, what `pick` makes of its index. */
function filled(shape, pick) {
  const index = new Array(shape.length).fill(0);
  return Array.from({ length: productOf(shape) }, () => {
    const value = pick(index);
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
    return value;
  });
}

/** Numbers as if they had a larger shape. */
function broadcasted(numbers, shape) {
  const strides = stridesOf(numbers.shape);
  const skip = shape.length - numbers.shape.length;
  return filled(shape, (index) => {
    let place = 0;
    numbers.shape.forEach((n, i) => (place += n === 1 ? 0 : strides[i] * index[i + skip]));
    return numbers.data[place];
  });
}

function elementwise(operation, a, b) {
  const shape = broadcast([a.shape, b.shape]);
  const [left, right] = [broadcasted(a, shape), broadcasted(b, shape)];
  return { element: a.element, shape, data: left.map((value, i) => operation(value, right[i])) };
}

/** The numbers of a node's first output as a list, of the given shape; null where they stay unknown. */
export function evaluate(node, shape, element) {
  const arrays = node.inputs.filter((value) => value !== null).map((value) => need(value.numbers));
  if (productOf(shape) > LIMITS.MAX_KNOWN_ELEMENTS || !arrays.length) return null;
  const data = computed(node, shape, arrays);
  if (data === null) return null;
  fit(data.length === productOf(shape), "operands that do not fit the operator");
  return asElement(data, need(element));
}

function computed(node, shape, arrays) {
  const { op } = node;
  const [first] = arrays;
  if (Object.hasOwn(BINARY, op)) return arrays.slice(1).reduce((a, b) => elementwise(BINARY[op], a, b), first).data;
  if (Object.hasOwn(UNARY, op)) return first.data.map(UNARY[op]);
  if (Object.hasOwn(REDUCING, op)) return reduced(node, first);
  switch (op) {
    case "Reshape": case "Flatten": case "Squeeze": case "Unsqueeze": case "Cast": case "CastLike":
      return first.data;
    case "Expand":
      return broadcasted(first, shape);
    case "Tile":
      return filled(shape, (index) => taken(first, index.map((i, axis) => i % first.shape[axis])));
    case "Concat": {
      const axis = axisOf(node.number("axis", 0), first.shape.length);
      return filled(shape, (index) => {
        let [i, part] = [index[axis], 0];
        while (i >= arrays[part].shape[axis]) i -= arrays[part++].shape[axis];
        return taken(arrays[part], index.map((n, k) => (k === axis ? i : n)));
      });
    }
    case "Gather":
      return gathered(node, shape, first, arrays[1]);
    case "Slice":
      return filled(shape, (index) => taken(first, slices(node, first.shape).map((cut, k) => cut.start + index[k] * cut.step)));
    case "Transpose": {
      const order = node.some("perm") ?? first.shape.map((_, i) => first.shape.length - 1 - i);
      return filled(shape, (index) => {
        const from = [];
        order.forEach((axis, k) => (from[axis] = index[k]));
        return taken(first, from);
      });
    }
    case "Where": {
      const [test, yes, no] = arrays.map((numbers) => broadcasted(numbers, shape));
      return test.map((value, i) => (value ? yes[i] : no[i]));
    }
    case "Range": {
      const [start, , step] = arrays.map((numbers) => only(numbers.data));
      return Array.from({ length: only(shape) }, (_, i) => (isBig(start) ? start + BigInt(i) * step : start + i * step));
    }
    case "Div": case "Mod": {
      const isReal = !isBig(first.data[0] ?? 0);
      const truncated = node.number("fmod", 0) === 1;
      const operation =
        op === "Div" ? (isReal ? (a, b) => a / b : quotient)
        : truncated ? (a, b) => (isReal ? a % b : b === 0n ? quotient(a, b) : a % b)
        : (a, b) => (isReal ? floorMod(a, b) : b === 0n ? quotient(a, b) : floorMod(a, b));
      return elementwise(operation, first, arrays[1]).data;
    }
    case "MatMul":
      return product(first, arrays[1], shape);
  }
  return null;
}

function taken(numbers, index) {
  const strides = stridesOf(numbers.shape);
  return at(numbers.data, index.reduce((place, i, axis) => place + i * strides[axis], 0));
}

function gathered(node, shape, first, indices) {
  const axis = axisOf(node.number("axis", 0), first.shape.length);
  const size = first.shape[axis];
  const strides = stridesOf(indices.shape);
  return filled(shape, (index) => {
    const place = indices.shape.reduce((sum, _, i) => sum + index[axis + i] * strides[i], 0);
    let i = Number(indices.data[place]);
    if (i < -size || i >= size) throw new Unknown();
    if (i < 0) i += size;
    return taken(first, [...index.slice(0, axis), i, ...index.slice(axis + indices.shape.length)]);
  });
}

function reduced(node, first) {
  const axes = node.given(1, "axes");
  const rank = first.shape.length;
  const gone = new Set(axes?.length ? axes.map((axis) => axisOf(axis, rank)) : first.shape.map((_, i) => i));
  const kept = first.shape.filter((_, i) => !gone.has(i));
  const within = first.shape.filter((_, i) => gone.has(i));
  return filled(kept, (outer) => {
    const list = filled(within, (inner) => {
      let [o, i] = [0, 0];
      return taken(first, first.shape.map((_, axis) => (gone.has(axis) ? inner[i++] : outer[o++])));
    });
    if (!list.length && node.op !== "ReduceSum" && node.op !== "ReduceProd") throw new Unknown();
    if (!list.length) return node.op === "ReduceSum" ? 0 : 1;
    return REDUCING[node.op](list);
  });
}

function product(a, b, shape) {
  if (a.shape.length !== 2 || b.shape.length !== 2) return null;
  return filled(shape, ([row, column]) => {
    let sum = INTEGERS.has(a.element) ? 0n : 0;
    for (let k = 0; k < a.shape[1]; k++) {
      sum = BINARY.Add(sum, BINARY.Mul(taken(a, [row, k]), taken(b, [k, column])));
    }
    return sum;
  });
}

/** Start, step and length of each axis that Slice takes of a shape, as Python's `slice.indices` has them. */
export function slices(node, shape) {
  const starts = need(node.input(1).integers());
  const ends = need(node.input(2).integers());
  const axes = node.has(3) ? need(node.input(3).integers()) : starts.map((_, i) => i);
  const steps = node.has(4) ? need(node.input(4).integers()) : starts.map(() => 1);
  const cuts = shape.map((length) => ({ start: 0, step: 1, length }));
  pairs(pairs(starts, ends), pairs(axes, steps)).forEach(([[start, end], [axis, step]]) => {
    const place = axisOf(axis, shape.length);
    const n = shape[place];
    if (step === 0) throw new Mismatch("operands that do not fit the operator");
    const [low, high] = step > 0 ? [0, n] : [-1, n - 1];
    const held = (bound) => Math.min(Math.max(bound < 0 ? bound + n : bound, low), high);
    const [from, to] = [held(start), held(end)];
    cuts[place] = { start: from, step, length: Math.max(0, Math.ceil((to - from) / step)) };
  });
  return cuts;
}

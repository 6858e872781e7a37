// The shape that each operator makes of the shapes of its inputs, for one number of rows.

import { evaluate, slices } from "./onnx-evaluate.js";
import * as layers from "./onnx-layers.js";
import {
  at, axisOf, BOOL, broadcast, fit, FLOAT, INT64, known, Mismatch, need, only, pairs, productOf, sameShape, UINT8,
  Unknown, Value, asElement,
} from "./onnx-values.js";
import { BOOLEAN, ELEMENT_OF_INPUT, FIXED_ELEMENT, LIMITS } from "./tables.js";

const IS_BOOLEAN = new Set(BOOLEAN);

/** What is known of the outputs of a node; `constant` is the value of a Constant, or of a ConstantOfShape. */
export function infer(node, constant) {
  if (node.op === "Constant") {
    return Array.from({ length: node.outputs }, (_, i) =>
      i === 0 && constant ? constant : new Value(null, null, { isStatic: true }),
    );
  }
  const isStatic =
    node.op === "Shape" || node.op === "Size" || node.inputs.every((value) => value === null || value.isStatic);
  const elements = elementsOf(node, constant);
  const values = Array.from({ length: node.outputs }, (_, i) => new Value(null, elements[i] ?? null, { isStatic }));
  try {
    const made = RULES[node.op](node);
    const shapes = Array.isArray(made) ? values.map(() => made) : made.each;
    values.forEach((value, i) => {
      if (shapes[i] === undefined) return;
      fit(shapes[i].every(Number.isInteger), "operands that do not fit the operator");
      value.shape = shapes[i];
    });
  } catch (error) {
    if (error instanceof Unknown) return values;
    if (error instanceof Mismatch) throw error;
    throw new Mismatch("operands that do not fit the operator");
  }
  if (isStatic) {
    try {
      workOut(node, values, constant);
    } catch {
      // The numbers stay unknown, which is no fault of the graph.
    }
  }
  return values;
}

/** The numbers of static outputs, where they are few and known. */
function workOut(node, values, constant) {
  if (!values.length) return;
  const shape = need(values[0].shape);
  const set = (value, data) => (value.numbers = { element: need(value.element), shape: value.shape, data });
  if (node.op === "Shape") {
    set(values[0], shapeRange(node, node.shape(0)).map(BigInt));
  } else if (node.op === "Size") {
    set(values[0], [BigInt(productOf(node.shape(0)))]);
  } else if (node.op === "ConstantOfShape") {
    const fill = constant ? at(need(constant.numbers).data, 0) : 0;
    const count = productOf(shape);
    if (count <= LIMITS.MAX_KNOWN_ELEMENTS) set(values[0], new Array(count).fill(fill));
  } else if (node.op === "Split") {
    const axis = axisOf(node.number("axis", 0), shape.length);
    const whole = need(node.input(0).numbers);
    const inner = productOf(whole.shape.slice(axis + 1));
    const outer = productOf(whole.shape.slice(0, axis));
    let start = 0;
    const parts = values.map((value) => {
      const [from, length] = [start, need(value.shape)[axis]];
      start += length;
      const data = [];
      for (let i = 0; i < outer; i++) {
        const place = (i * whole.shape[axis] + from) * inner;
        data.push(...whole.data.slice(place, place + length * inner));
      }
      return data;
    });
    values.forEach((value, i) => set(value, parts[i]));
  } else {
    const data = evaluate(node, shape, values[0].element);
    if (data !== null) set(values[0], data);
  }
}

/** Element types of the outputs. */
function elementsOf(node, constant) {
  const first = node.input(0).element;
  if (IS_BOOLEAN.has(node.op)) return [BOOL];
  if (Object.hasOwn(FIXED_ELEMENT, node.op)) return [FIXED_ELEMENT[node.op]];
  if (Object.hasOwn(ELEMENT_OF_INPUT, node.op)) return [node.input(ELEMENT_OF_INPUT[node.op]).element];
  switch (node.op) {
    case "ConstantOfShape":
      return [constant ? constant.element : FLOAT];
    case "Cast":
      return [node.number("to", 0)];
    case "EyeLike":
      return [node.number("dtype", first ?? 0)];
    case "QuantizeLinear":
      return [node.has(2) ? node.input(2).element : UINT8];
    case "TopK": case "MaxPool":
      return [first, INT64];
  }
  return new Array(node.outputs).fill(first);
}

const integers = (node, index) => need(node.input(index).integers());

function checked(sizes) {
  if (sizes.length > LIMITS.MAX_RANK || sizes.some((n) => n < 0)) throw new Unknown();
  return sizes;
}

function reduce(node) {
  const x = node.shape(0);
  const keep = node.number("keepdims", 1);
  const isIndex = node.op === "ArgMax" || node.op === "ArgMin";
  const axes = isIndex ? [node.number("axis", 0)] : node.given(1, "axes");
  if (!axes?.length && node.number("noop_with_empty_axes", 0)) return x;
  const gone = new Set(axes?.length ? axes.map((axis) => axisOf(axis, x.length)) : x.map((_, i) => i));
  return x.map((n, i) => (gone.has(i) ? 1 : n)).filter((_, i) => keep || !gone.has(i));
}

function cumulated(node) {
  const x = node.shape(0);
  axisOf(only(integers(node, 1)), x.length);
  return x;
}

function topk(node) {
  const x = [...node.shape(0)];
  const k = only(integers(node, 1));
  const axis = axisOf(node.number("axis", -1), x.length);
  fit(0 <= k && k <= x[axis], `the largest ${k} of ${x[axis]}`);
  x[axis] = k;
  return x;
}

function range(node) {
  const [start, stop, step] = [0, 1, 2].map((i) => only(need(node.input(i).numbers).data));
  if (typeof step === "bigint") {
    fit(step !== 0n, "operands that do not fit the operator");
    const steps = Number(stop - start) / Number(step);
    return [Math.max(0, Math.ceil(steps))];
  }
  fit(step !== 0, "operands that do not fit the operator");
  return [Math.max(0, Math.ceil((stop - start) / step))];
}

function oneHot(node) {
  const x = [...node.shape(0)];
  const depth = Math.trunc(Number(at(need(node.input(1).numbers).data, 0)));
  const axis = node.number("axis", -1);
  x.splice(axis < 0 ? axis + x.length + 1 : axis, 0, Math.max(0, depth));
  return x;
}

/** The part of a shape that the operator Shape gives. */
function shapeRange(node, shape) {
  return shape.slice(node.number("start", 0), node.number("end", shape.length));
}

function reshape(node) {
  const limit = LIMITS.MAX_RANK;
  fit(productOf(node.input(1).shape ?? []) <= limit, `a shape of more than ${limit} dimensions`);
  const x = node.shape(0);
  let wanted = integers(node, 1);
  if (!node.number("allowzero", 0)) wanted = wanted.map((n, i) => (n === 0 ? at(x, i) : n));
  if (wanted.includes(-1)) {
    const rest = productOf(wanted.filter((n) => n !== -1));
    wanted = wanted.map((n) => (n === -1 ? Math.floor(productOf(x) / Math.max(rest, 1)) : n));
  }
  fit(productOf(wanted) === productOf(x), `shape ${JSON.stringify(wanted)} of ${productOf(x)} elements`);
  return checked(wanted);
}

function flatten(node) {
  const x = node.shape(0);
  let axis = node.number("axis", 1);
  if (axis !== x.length) axis = axisOf(axis, x.length);
  return [productOf(x.slice(0, axis)), productOf(x.slice(axis))];
}

function transpose(node) {
  const x = node.shape(0);
  const order = node.some("perm") ?? x.map((_, i) => x.length - 1 - i);
  const isOrder = order.length === x.length && x.every((_, i) => order.includes(i));
  fit(isOrder, `order ${JSON.stringify(order)} of ${x.length} dimensions`);
  return order.map((i) => x[i]);
}

function squeeze(node) {
  const x = node.shape(0);
  const axes = node.given(1, "axes");
  const gone = new Set(
    axes?.length ? axes.map((axis) => axisOf(axis, x.length)) : x.flatMap((n, i) => (n === 1 ? [i] : [])),
  );
  const fits = axes?.length !== 0 && [...gone].every((i) => x[i] === 1);
  fit(fits, `axes ${JSON.stringify(axes)} of shape ${JSON.stringify(x)}`);
  return x.filter((_, i) => !gone.has(i));
}

function unsqueeze(node) {
  const x = node.shape(0);
  const axes = need(node.given(1, "axes"));
  const rank = x.length + axes.length;
  const places = new Set(axes.map((axis) => axisOf(axis, rank)));
  fit(places.size === axes.length, `axes ${JSON.stringify(axes)} twice`);
  const rest = x.values();
  return Array.from({ length: rank }, (_, i) => (places.has(i) ? 1 : rest.next().value));
}

function concat(node) {
  const shapes = node.inputs.map((_, i) => node.shape(i));
  const axis = axisOf(node.number("axis", 0), shapes[0].length);
  const alike = (shape) => shape.length === shapes[0].length && shape.every((n, i) => i === axis || n === shapes[0][i]);
  fit(shapes.every(alike), "shapes that cannot be joined");
  return shapes[0].map((n, i) => (i === axis ? shapes.reduce((sum, shape) => sum + shape[axis], 0) : n));
}

function split(node) {
  const x = node.shape(0);
  const axis = axisOf(node.number("axis", 0), x.length);
  let lengths = node.given(1, "split");
  if (lengths === null) {
    const count = node.number("num_outputs", node.outputs);
    fit(count > 0, "operands that do not fit the operator");
    if (count > LIMITS.MAX_WINDOW) throw new Mismatch(`${count} outputs`);
    const each = Math.ceil(x[axis] / count);
    lengths = [...new Array(count - 1).fill(each), x[axis] - each * (count - 1)];
  }
  const sum = lengths.reduce((a, b) => a + b, 0);
  const fits = lengths.length > 0 && sum === x[axis] && Math.min(...lengths) >= 0 && lengths.length === node.outputs;
  fit(fits, `lengths ${JSON.stringify(lengths.slice(0, 8))} for ${x[axis]} and ${node.outputs} outputs`);
  return { each: lengths.map((n) => x.map((size, i) => (i === axis ? n : size))) };
}

function gather(node) {
  const x = node.shape(0);
  const axis = axisOf(node.number("axis", 0), x.length);
  return [...x.slice(0, axis), ...node.shape(1), ...x.slice(axis + 1)];
}

function gatherNd(node) {
  const [x, indices] = [node.shape(0), node.shape(1)];
  return [...indices.slice(0, -1), ...x.slice(node.number("batch_dims", 0) + at(indices, -1))];
}

function elementsAt(node) {
  const [x, indices] = [node.shape(0), node.shape(1)];
  fit(x.length === indices.length, `indices of ${indices.length} dimensions into ${x.length}`);
  const axis = axisOf(node.number("axis", 0), x.length);
  fit(pairs(indices, x).every(([k, n], i) => i === axis || k <= n), "more indices than elements");
  if (node.op === "GatherElements") return indices;
  fit(sameShape(node.shape(2), indices), "updates and indices of different shapes");
  return x;
}

function scatterNd(node) {
  const [x, indices] = [node.shape(0), node.shape(1)];
  const fits = indices.length > 0 && sameShape(node.shape(2), [...indices.slice(0, -1), ...x.slice(at(indices, -1))]);
  fit(fits, "updates that do not fit the indices");
  return x;
}

function slope(node) {
  const x = node.shape(0);
  fit(sameShape(broadcast([x, node.shape(1)]), x), "a slope that does not fit");
  return x;
}

function pad(node) {
  const x = [...node.shape(0)];
  const pads = integers(node, 1);
  const axes = node.has(3) ? integers(node, 3) : x.map((_, i) => i);
  axes.forEach((axis, i) => (x[axisOf(axis, x.length)] += at(pads, i) + at(pads, i + axes.length)));
  return x.map((n) => Math.max(0, n));
}

function resize(node) {
  const x = [...node.shape(0)];
  const axes = node.some("axes") ?? x.map((_, i) => i);
  if (node.text("keep_aspect_ratio_policy", "stretch") !== "stretch") throw new Unknown();
  if (node.text("coordinate_transformation_mode", "half_pixel") === "tf_crop_and_resize") throw new Unknown();
  const sizes = node.has(3)
    ? integers(node, 3)
    : pairs(axes, need(node.input(2).numbers).data).map(([axis, scale]) =>
        Math.floor(x[axisOf(axis, x.length)] * Number(scale)),
      );
  for (const [axis, size] of pairs(axes, sizes)) x[axisOf(axis, x.length)] = Math.max(0, size);
  return x;
}

function col2im(node) {
  const [x, image, block] = [node.shape(0), integers(node, 1), integers(node, 2)];
  fit(productOf(block) !== 0, "operands that do not fit the operator");
  return [at(x, 0), Math.floor(at(x, 1) / productOf(block)), ...checked(image)];
}

const same = (node) => node.shape(0);
const BY_RULE = [
  [same, `Abs Neg Sqrt Reciprocal Exp Log Erf Sign Clip Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh
    Acosh Atanh Relu LeakyRelu Elu Celu Selu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Mish
    Softmax LogSoftmax Hardmax LpNormalization LRN Cast CastLike Identity EyeLike Trilu Not IsNaN IsInf`],
  [(node) => broadcast(node.inputs.flatMap((_, i) => (node.has(i) ? [node.shape(i)] : []))),
    `Add Sub Mul Div Pow Mod Sum Mean Min Max Equal Less Greater LessOrEqual GreaterOrEqual And Or Xor Where`],
  [layers.matmul, "MatMul QLinearMatMul MatMulInteger"], [layers.gemm, "Gemm"], [layers.einsum, "Einsum"],
  [layers.conv, "Conv QLinearConv ConvInteger"], [layers.transposed, "ConvTranspose"],
  [layers.recurrent, "RNN GRU LSTM"], [layers.pool, "AveragePool MaxPool LpPool"],
  [layers.globalPool, "GlobalAveragePool GlobalMaxPool GlobalLpPool"],
  [reduce, `ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare ArgMax ArgMin`],
  [cumulated, "CumSum"], [topk, "TopK"], [(node) => checked(integers(node, 0)), "ConstantOfShape"], [range, "Range"],
  [oneHot, "OneHot"], [(node) => [shapeRange(node, node.shape(0)).length], "Shape"], [() => [], "Size"],
  [reshape, "Reshape"], [flatten, "Flatten"], [transpose, "Transpose"], [squeeze, "Squeeze"],
  [unsqueeze, "Unsqueeze"], [concat, "Concat"], [split, "Split"],
  [(node) => slices(node, node.shape(0)).map((cut) => cut.length), "Slice"], [gather, "Gather"],
  [elementsAt, "GatherElements ScatterElements"], [scatterNd, "ScatterND"],
  [layers.perChannel, "InstanceNormalization QuantizeLinear DequantizeLinear"], [slope, "PRelu"],
  [gatherNd, "GatherND"], [(node) => broadcast([node.shape(0), checked(integers(node, 1))]), "Expand"],
  [(node) => pairs(node.shape(0), checked(integers(node, 1))).map(([n, k]) => n * k), "Tile"], [pad, "Pad"],
  [resize, "Resize"], [layers.blocks, "DepthToSpace SpaceToDepth"], [col2im, "Col2Im"],
  [layers.batchNorm, "BatchNormalization"], [layers.layerNorm, "LayerNormalization"],
];

/** Operator to its rule: a shape for all outputs, or `{each}` of them. */
export const RULES = Object.fromEntries(BY_RULE.flatMap(([rule, ops]) => ops.split(/\s+/).map((op) => [op, rule])));

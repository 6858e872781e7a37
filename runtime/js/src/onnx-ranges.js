// Ranges that engines do not check: attributes and indices that ended their process in the runs of a fuzzer.

import { boundedProduct, fromRaw, INTEGERS, ITEM_BYTES, productOf, sameShape } from "./onnx-values.js";
import { ARITY, FLAGS, GATES, LIMITS, NO_GAPS, SHAPED, SIZED, SPATIAL, WINDOWS } from "./tables.js";

const IS_FLAG = new Set(FLAGS);
const IS_SPATIAL = new Set(SPATIAL);
const WITHOUT_GAPS = new Set(NO_GAPS);
const { MAX_ELEMENTS, MAX_RANK, MAX_WINDOW } = LIMITS;

/** Why a node must not reach an engine, by its operands and attributes, or null. */
export function wrongNode(node) {
  const [least, most, outputs] = ARITY[node.op];
  const count = node.inputs.length;
  if (count < least || count > most || node.outputs > outputs) {
    return `has ${count} inputs and ${node.outputs} outputs, which the operator does not`;
  }
  const needed = WITHOUT_GAPS.has(node.op) ? count : least;
  for (let i = 0; i < needed; i++) if (!node.has(i)) return "lacks an input that it needs";
  return wrongAttribute(node) ?? (Object.hasOwn(CHECKS, node.op) ? CHECKS[node.op](node) : null);
}

/** Why a node must not reach an engine, by the shapes of what it makes of this number of rows, or null. */
export function wrongSize(node, outputs, rows) {
  const limit = MAX_ELEMENTS * rows;
  for (const { shape, isStatic } of outputs) {
    if (shape === null) continue;
    if (shape.includes(0) && !isStatic) return `makes a tensor without elements, of shape ${JSON.stringify(shape)}`;
    if (shape.length > MAX_RANK) return `makes a tensor of ${shape.length} dimensions; the limit is ${MAX_RANK}`;
    const count = boundedProduct(shape, limit);
    if (count > limit) return `asks for ${count} elements; the limit is ${limit}`;
  }
  const numbers = SIZED[node.op] ?? SHAPED[node.op] ?? [];
  if (numbers.some((i) => node.has(i) && !node.input(i).isStatic)) {
    return "takes its size from values that are known only when it runs";
  }
  if (Object.hasOwn(SIZED, node.op) && outputs.length && outputs[0].shape === null) {
    return "has a size that does not follow from the graph";
  }
  return null;
}

function wrongAttribute(node) {
  for (const name of node.attributes.keys()) {
    if (IS_FLAG.has(name) && ![0, 1].includes(node.number(name, 0))) {
      return `has ${name} ${node.number(name, 0)}; it is 0 or 1`;
    }
    if (Object.hasOwn(WINDOWS, name)) {
      const low = WINDOWS[name];
      for (const n of node.some(name) ?? [node.number(name, low)]) {
        if (n < low || n > MAX_WINDOW) return `has ${name} ${n}; it is from ${low} to ${MAX_WINDOW}`;
      }
    }
    if ((name === "axis" || name === "batch_dims") && Math.abs(node.number(name, 0)) > MAX_RANK) {
      return `has ${name} ${node.number(name, 0)}, which is no axis`;
    }
  }
  const rank = node.input(0).rank;
  if (IS_SPATIAL.has(node.op) && rank !== null) {
    if (rank < 3) return `works on ${rank} dimensions; it needs 3`;
    const expected = { kernel_shape: 1, strides: 1, dilations: 1, output_padding: 1, pads: 2 };
    for (const [name, each] of Object.entries(expected)) {
      const numbers = node.numbers(name);
      if (numbers !== null && numbers.length !== each * (rank - 2)) {
        return `has ${numbers.length} ${name} for ${rank - 2} spatial dimensions`;
      }
    }
  }
  return null;
}

function recurrent(node) {
  const [x, w, r] = [0, 1, 2].map((i) => node.input(i).shape);
  if (!x || !w || !r) return "has an input whose shape does not follow from the graph";
  if ([x, w, r].some((shape) => shape.length !== 3 || shape.includes(0))) {
    return "has inputs that do not have three dimensions each, none of them 0";
  }
  const hidden = r[2];
  const directions = node.text("direction", "forward") === "bidirectional" ? 2 : 1;
  const gates = GATES[node.op] * hidden;
  const agree = sameShape(w, [directions, gates, x[2]]) && sameShape(r, [directions, gates, hidden]);
  if (!agree || node.number("hidden_size", hidden) !== hidden) {
    return `has weights ${JSON.stringify(w)}, ${JSON.stringify(r)} that disagree with its hidden_size or input`;
  }
  const last = node.number("layout", 0);
  const [batch, steps] = last ? [x[0], x[1]] : [x[1], x[0]];
  const state = last ? [batch, directions, hidden] : [directions, batch, hidden];
  const expected = { 3: [directions, 2 * gates], 4: [batch], 5: state, 6: state, 7: [directions, 3 * hidden] };
  for (const [i, shape] of Object.entries(expected)) {
    const given = node.input(Number(i)).shape;
    if (node.has(Number(i)) && !(given && sameShape(given, shape))) return `has input ${i} of another shape than it takes`;
  }
  if (node.has(4)) {
    const lengths = node.input(4).integers();
    if (!lengths?.every((n) => 0 < n && n <= steps)) {
      return `has lengths of sequences that are not known to be from 1 to ${steps}`;
    }
  }
  return null;
}

/** The numbers of a constant of any size as a flat list, or null. */
function constantOf(value) {
  if (value.numbers !== null) return value.numbers;
  if (value.raw === null || value.element === null || value.raw.byteLength % ITEM_BYTES[value.element]) return null;
  return { element: value.element, shape: value.shape, data: fromRaw(value.raw, value.element) };
}

function division(node) {
  const { element } = node.input(0);
  if (element !== null && !INTEGERS.has(element)) return null;
  const divisor = constantOf(node.input(1));
  if (divisor === null) return "divides integers by what is known only when it runs, which may be 0";
  const isWhole = INTEGERS.has(divisor.element);
  return isWhole && divisor.data.some((n) => n === 0n || n === -1n) ? "divides integers by 0 or by -1" : null;
}

/** Whole numbers of an index, or null where it is no constant. */
function indicesOf(value) {
  const numbers = constantOf(value);
  return numbers !== null && INTEGERS.has(numbers.element) ? numbers.data : null;
}

function outside(numbers, size) {
  return numbers.some((n) => n < -size || n >= size) ? `has indices outside its axis of ${size}` : null;
}

function axisIndices(node) {
  const x = node.input(0).shape;
  const numbers = indicesOf(node.input(1));
  if (x === null || numbers === null) return null;
  const axis = node.number("axis", 0);
  if (axis < -x.length || axis >= x.length) return `has axis ${axis} of ${x.length} dimensions`;
  return outside(numbers, x[axis < 0 ? axis + x.length : axis]);
}

function gatherNd(node) {
  const [x, indices] = [node.input(0).shape, node.input(1).shape];
  const batch = node.number("batch_dims", 0);
  if (x === null || indices === null) return "has an input whose shape does not follow from the graph";
  const last = indices[indices.length - 1];
  const fits = batch >= 0 && batch < Math.min(x.length, indices.length) && last >= 1 && last <= x.length - batch;
  if (!indices.length || !fits) {
    return `has batch_dims ${batch} and indices of shape ${JSON.stringify(indices)} into ${JSON.stringify(x)}`;
  }
  const numbers = indicesOf(node.input(1));
  if (numbers === null || productOf(indices) !== numbers.length) return null;
  for (let i = 0; i < last; i++) {
    const problem = outside(numbers.filter((_, place) => place % last === i), x[batch + i]);
    if (problem) return problem;
  }
  return null;
}

function cast(node) {
  const to = node.number(node.op === "Cast" ? "to" : "dtype", 1);
  return Object.hasOwn(ITEM_BYTES, to) ? null : `makes element type ${to}, which is not one a bundle may use`;
}

function oneHot(node) {
  const [axis, { rank }] = [node.number("axis", -1), node.input(0)];
  return rank === null || (-rank - 1 <= axis && axis <= rank) ? null : `has axis ${axis} of ${rank + 1} dimensions`;
}

function resize(node) {
  const scales = node.has(2) ? constantOf(node.input(2)) : null;
  if (scales === null) return null;
  const factors = scales.data.map(Number);
  if (!factors.every((n) => Number.isFinite(n) && n > 0)) return "has scales that are not above 0";
  const axes = node.some("axes") ?? factors.map((_, i) => i);
  const first = [0, -(node.input(0).rank ?? 0) || 0];
  const isOfBatch = factors.some((factor, i) => i < axes.length && first.includes(axes[i]) && factor !== 1);
  return isOfBatch ? "resizes its first axis, the rows of a batch" : null;
}

const CHECKS = {
  RNN: recurrent, GRU: recurrent, LSTM: recurrent, Div: division, Mod: division, Gather: axisIndices,
  GatherElements: axisIndices, ScatterElements: axisIndices, GatherND: gatherNd, ScatterND: gatherNd, Cast: cast,
  EyeLike: cast, OneHot: oneHot, Resize: resize,
};

// Shapes that layers with weights and windows make, and what their weights must be.

import { at, axisOf, broadcast, fit, need, pairs, productOf, sameShape, Unknown } from "./onnx-values.js";

const text = (shape) => JSON.stringify(shape);

function matmulOf(a, b) {
  fit(a.length && b.length, "a matrix product of a single number");
  const left = a.length === 1 ? [1, ...a] : a;
  const right = b.length === 1 ? [...b, 1] : b;
  fit(at(left, -1) === at(right, -2), `shapes ${text(a)} and ${text(b)} have no matrix product`);
  const shape = broadcast([left.slice(0, -2), right.slice(0, -2)]);
  if (a.length !== 1) shape.push(at(left, -2));
  if (b.length !== 1) shape.push(at(right, -1));
  return shape;
}

/** MatMul and its integer forms. */
export function matmul(node) {
  return matmulOf(node.shape(0), node.shape(node.op === "QLinearMatMul" ? 3 : 1));
}

export function gemm(node) {
  fit(node.shape(0).length === 2 && node.shape(1).length === 2, "Gemm of what is no matrix");
  let [a, b] = node.shape(0);
  let [c, d] = node.shape(1);
  if (node.number("transA", 0)) [a, b] = [b, a];
  if (node.number("transB", 0)) [c, d] = [d, c];
  fit(b === c, `shapes ${text(node.shape(0))} and ${text(node.shape(1))} have no matrix product`);
  fit(!node.has(2) || sameShape(broadcast([[a, d], node.shape(2)]), [a, d]), "a bias that does not fit");
  return [a, d];
}

/** Einsum of named axes. */
export function einsum(node) {
  const equation = node.text("equation", "").replaceAll(" ", "");
  const arrow = equation.indexOf("->");
  const left = arrow < 0 ? equation : equation.slice(0, arrow);
  if (arrow < 0 || left.includes(".")) throw new Unknown();
  const sizes = new Map();
  left.split(",").forEach((letters, i) => {
    for (const [letter, n] of pairs([...letters], node.shape(i))) {
      if (!sizes.has(letter)) sizes.set(letter, n);
      fit(sizes.get(letter) === n, `sizes ${n} and ${sizes.get(letter)} of one letter`);
    }
  });
  return [...equation.slice(arrow + 2)].map((letter) => {
    fit(sizes.has(letter), "operands that do not fit the operator");
    return sizes.get(letter);
  });
}

/** Spatial sizes of a convolution or pooling. */
function windows(node, sizes, kernel) {
  const n = sizes.length;
  const strides = node.some("strides") ?? new Array(n).fill(1);
  const dilations = node.some("dilations") ?? new Array(n).fill(1);
  const pads = node.some("pads") ?? new Array(2 * n).fill(0);
  const auto = node.text("auto_pad", "NOTSET");
  const round = node.number("ceil_mode", 0) ? Math.ceil : Math.floor;
  return sizes.map((size, i) => {
    const reach = (at(kernel, i) - 1) * at(dilations, i) + 1;
    if (auto.startsWith("SAME")) return Math.max(0, Math.ceil(size / at(strides, i)));
    const room = size - reach + (auto === "VALID" ? 0 : at(pads, i) + at(pads, i + n));
    return Math.max(0, round(room / at(strides, i)) + 1);
  });
}

function sameKernel(node, weights) {
  const kernel = node.some("kernel_shape") ?? weights.slice(2);
  fit(sameShape(kernel, weights.slice(2)), "a kernel_shape that is not that of the weights");
  return kernel;
}

/** Conv and its integer forms. */
export function conv(node) {
  const x = node.shape(0);
  const w = node.shape(node.op === "QLinearConv" ? 3 : 1);
  const group = node.number("group", 1);
  const fits = w.length === x.length && at(w, 1) * group === at(x, 1) && at(w, 0) % group === 0;
  fit(fits, `weights ${text(w)} for rows of ${text(x)}`);
  const kernel = sameKernel(node, w);
  const bias = node.op === "QLinearConv" ? 8 : 2;
  const fitting = node.op === "ConvInteger" || !node.has(bias) || sameShape(node.shape(bias), w.slice(0, 1));
  fit(fitting, "a bias that does not fit");
  return [x[0], w[0], ...windows(node, x.slice(2), kernel)];
}

/** ConvTranspose. */
export function transposed(node) {
  const x = node.shape(0);
  const w = node.shape(1);
  const n = x.length - 2;
  const group = node.number("group", 1);
  const fits = w.length === x.length && at(w, 0) === at(x, 1) && at(x, 1) % group === 0;
  fit(fits, `weights ${text(w)} for rows of ${text(x)}`);
  const kernel = sameKernel(node, w);
  const channels = at(w, 1) * group;
  fit(!node.has(2) || sameShape(node.shape(2), [channels]), "a bias that does not fit");
  const given = node.some("output_shape");
  if (given) return [x[0], channels, ...(n ? given.slice(-n) : given)];
  const strides = node.some("strides") ?? new Array(n).fill(1);
  const dilations = node.some("dilations") ?? new Array(n).fill(1);
  const extra = node.some("output_padding") ?? new Array(n).fill(0);
  const pads = node.some("pads") ?? new Array(2 * n).fill(0);
  const auto = node.text("auto_pad", "NOTSET");
  const made = x.slice(2).map((size, i) => {
    if (auto.startsWith("SAME")) return Math.max(0, size * at(strides, i));
    const whole = at(strides, i) * (size - 1) + at(extra, i) + (at(kernel, i) - 1) * at(dilations, i) + 1;
    return Math.max(0, whole - (auto === "VALID" ? 0 : at(pads, i) + at(pads, i + n)));
  });
  return [x[0], channels, ...made];
}

/** Pooling by windows. */
export function pool(node) {
  const x = node.shape(0);
  return [...x.slice(0, 2), ...windows(node, x.slice(2), need(node.numbers("kernel_shape")))];
}

/** Pooling of whole images. */
export function globalPool(node) {
  const x = node.shape(0);
  return [...x.slice(0, 2), ...new Array(Math.max(0, x.length - 2)).fill(1)];
}

/** RNN, GRU and LSTM: every step, the last state, and the cell. */
export function recurrent(node) {
  const x = node.shape(0);
  const r = node.shape(2);
  const [directions, hidden, last] = [at(r, 0), at(r, -1), node.number("layout", 0)];
  const [steps, batch] = last ? [at(x, 1), at(x, 0)] : [at(x, 0), at(x, 1)];
  const state = last ? [batch, directions, hidden] : [directions, batch, hidden];
  const whole = last ? [batch, steps, directions, hidden] : [steps, directions, batch, hidden];
  return { each: [whole, state, state] };
}

export function batchNorm(node) {
  const x = node.shape(0);
  const fits = x.length >= 2 && node.inputs.every((_, i) => i === 0 || sameShape(node.shape(i), [x[1]]));
  fit(fits, "other channels than rows");
  return { each: [x, [x[1]], [x[1]]] };
}

export function layerNorm(node) {
  const x = node.shape(0);
  const axis = axisOf(node.number("axis", -1), x.length);
  for (let i = 1; i < node.inputs.length; i++) {
    const fits = !node.has(i) || sameShape(broadcast([x.slice(axis), node.shape(i)]), x.slice(axis));
    fit(fits, "a scale that does not fit");
  }
  const statistics = [...x.slice(0, axis), ...new Array(x.length - axis).fill(1)];
  return { each: [x, statistics, statistics] };
}

/** Of a norm over each channel, and of numbers with a scale for each. */
export function perChannel(node) {
  const x = node.shape(0);
  if (node.op === "InstanceNormalization") {
    const fits = x.length >= 3 && sameShape(node.shape(1), [x[1]]) && sameShape(node.shape(2), [x[1]]);
    fit(fits, "other channels than rows");
    return x;
  }
  const scale = node.shape(1);
  if (productOf(scale) !== 1) {
    const axis = axisOf(node.number("axis", 1), x.length);
    fit(sameShape(scale, [x[axis]]), `${text(scale)} scales for ${x[axis]} channels`);
  }
  const fits = !node.has(2) || productOf(node.shape(2)) === productOf(scale);
  fit(fits, "scales and zero points that differ");
  return x;
}

/** DepthToSpace and SpaceToDepth. */
export function blocks(node) {
  fit(node.shape(0).length === 4, `${node.shape(0).length} dimensions, not 4`);
  const [n, c, h, w] = node.shape(0);
  const b = node.number("blocksize", 0);
  fit(b > 0, "operands that do not fit the operator");
  const isDepth = node.op === "DepthToSpace";
  fit((isDepth ? c % (b * b) : (h % b) + (w % b)) === 0, `blocks of ${b} in ${text([c, h, w])}`);
  return isDepth
    ? [n, Math.floor(c / (b * b)), h * b, w * b]
    : [n, c * b * b, Math.floor(h / b), Math.floor(w / b)];
}

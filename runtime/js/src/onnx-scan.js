// Look through an ONNX file before any engine sees it: fields, operators, then shapes and small constants through the
// nodes, for one row and for many. Refusing is not a bound on time or memory.

import { GraphRefused, shown } from "./errors.js";
import { wrongNode, wrongSize } from "./onnx-ranges.js";
import { infer } from "./onnx-shapes.js";
import {
  asElement, boundedProduct, FLOAT, fromRaw, INT64, INT8, ITEM_BYTES, known, Mismatch, Node, productOf, Value,
} from "./onnx-values.js";
import { parse } from "./onnx-wire.js";
import { ARITY, ELEMENT_TYPES, LIMITS, LITERAL_SHAPE_INPUT, SOME_ROWS, TYPED_FIELD } from "./tables.js";

const STANDARD = new Set(["", "ai.onnx"]);

/**
 * Check a serialised ONNX model, skeleton and weights joined; raises GraphRefused.
 *
 * @param {Uint8Array} bytes the file.
 * @param {(facts: object) => void} check what else the facts must be, before shapes are followed.
 * @returns facts: irVersion, opset, inputs, outputs, metadata, and whether 8-bit weights have a sign.
 */
export function scan(bytes, check = () => {}) {
  return new Scanner().model(bytes, check);
}

class Scanner {
  inputs = [];
  outputs = [];
  nodes = [];
  /** @type {Map<string, Value>} */
  constants = new Map();

  model(bytes, check) {
    const model = parse(bytes, "MODEL", "model");
    const irVersion = model.integer(1);
    if (irVersion < 1 || irVersion > LIMITS.IR_VERSION_MAX) {
      throw new GraphRefused(`IR version ${irVersion}; this runtime reads 1 to ${LIMITS.IR_VERSION_MAX}`);
    }
    const opset = opsetOf(model);
    if (!model.blobs(7).length) throw new GraphRefused("there is no graph in the file");
    for (const part of model.blobs(7)) this.graph(part);
    for (const named of [this.inputs, this.outputs]) {
      if (new Set(named.map((value) => value.name)).size !== named.length) {
        throw new GraphRefused("two inputs or two outputs have one name");
      }
    }
    const both = this.inputs.find((value) => this.constants.has(value.name));
    if (both) throw new GraphRefused(`initializer ${shown(both.name)} is also an input, so a caller could replace a weight`);
    this.checkLiteralShapes();
    const facts = {
      irVersion, opset, inputs: this.inputs, outputs: this.outputs, metadata: metadataOf(model),
      signedWeights: this.nodes.some(
        ({ op, inputs }) => op === "DequantizeLinear" && this.constants.get(inputs[0])?.element === INT8,
      ),
    };
    check(facts);
    this.follow(opset);
    return facts;
  }

  graph(bytes) {
    const graph = parse(bytes, "GRAPH", "graph");
    this.inputs.push(...graph.blobs(11).map(valueInfo));
    this.outputs.push(...graph.blobs(12).map(valueInfo));
    for (const blob of graph.blobs(5)) {
      const [name, value] = tensorOf(blob, "initializer");
      if (!name || this.constants.has(name)) {
        throw new GraphRefused(`initializer ${shown(name)} is nameless or occurs twice`);
      }
      if (this.constants.size === LIMITS.MAX_INITIALIZERS) {
        throw new GraphRefused(`there are more than ${LIMITS.MAX_INITIALIZERS} initializers`);
      }
      this.constants.set(name, value);
    }
    for (const blob of graph.blobs(1)) this.node(blob);
  }

  node(bytes) {
    if (this.nodes.length === LIMITS.MAX_NODES) throw new GraphRefused(`there are more than ${LIMITS.MAX_NODES} nodes`);
    let where = `node ${this.nodes.length}`;
    const node = parse(bytes, "NODE", where);
    const [op, domain] = [node.text(4), node.text(7)];
    where += ` (${op.slice(0, 60)} ${shown(node.text(3))})`;
    if (!STANDARD.has(domain)) {
      throw new GraphRefused(`${where}: operator of the domain ${shown(domain)}; only standard ONNX operators run here`);
    }
    if (!Object.hasOwn(ARITY, op)) throw new GraphRefused(`${where}: the operator ${shown(op)} is not one this runtime runs`);
    const attributes = new Map();
    let constant = null;
    for (const blob of node.blobs(5)) {
      const attribute = parse(blob, "ATTRIBUTE", where);
      const name = attribute.text(1);
      if (attributes.has(name)) throw new GraphRefused(`${where}: the attribute ${shown(name)} occurs twice`);
      attributes.set(name, attribute);
      if (name === "training_mode" && attribute.integer(3)) {
        throw new GraphRefused(`${where}: is in training mode, where the rows of a batch change each other`);
      }
      for (const tensor of [...attribute.blobs(5), ...attribute.blobs(10)]) {
        [, constant] = tensorOf(tensor, `${where}, attribute ${shown(name)}`);
      }
    }
    if (op === "Constant" && constant === null) constant = plainConstant(attributes, where);
    this.nodes.push({ where, op, inputs: node.texts(1), outputs: node.texts(2), attributes, constant });
  }

  /** What a literal asks for, also where the shape that it is joined with is not known. */
  checkLiteralShapes() {
    const literals = new Map();
    for (const { op, constant, outputs } of this.nodes) {
      if (op === "Constant" && constant) for (const name of outputs) literals.set(name, constant);
    }
    for (const node of this.nodes) {
      if (!Object.hasOwn(LITERAL_SHAPE_INPUT, node.op)) continue;
      const name = node.inputs[LITERAL_SHAPE_INPUT[node.op]] ?? "";
      const literal = this.constants.get(name) ?? literals.get(name);
      const count = literal ? boundedProduct(literal.integers() ?? [], LIMITS.MAX_ELEMENTS) : 0;
      if (count > LIMITS.MAX_ELEMENTS) {
        throw new GraphRefused(`${node.where}: asks for ${count} elements; the limit is ${LIMITS.MAX_ELEMENTS}`);
      }
    }
  }

  /** Look at every node for one row and for many. */
  follow(opset) {
    for (const { dims } of this.inputs) {
      if (dims.length > LIMITS.MAX_RANK || dims.includes(0)) {
        throw new GraphRefused(`an input has the shape ${shown(dims)}, which is not one of rows`);
      }
    }
    const sizes = this.look(opset, 1);
    this.look(opset, SOME_ROWS);
    if (sizes.has(SOME_ROWS)) this.look(opset, LIMITS.MOST_ROWS); // a constant may fit that number of rows by chance
  }

  /** Look at every node for one number of rows; the sizes of all axes. */
  look(opset, rows) {
    const sizes = new Set();
    const values = new Map(this.constants);
    for (const { name, element, dims } of this.inputs) {
      const shape = dims.includes(null) ? null : dims.map((n) => (typeof n === "number" ? n : rows));
      values.set(name, new Value(shape, element));
    }
    for (const { shape } of this.constants.values()) shape?.forEach((n) => sizes.add(n));
    values.set("", null); // an optional input that is left out
    for (const { where, op, inputs, outputs, attributes, constant } of this.nodes) {
      for (const name of inputs) {
        if (!values.has(name)) throw new GraphRefused(`${where}: takes ${shown(name)}, which nothing before it makes`);
      }
      const node = new Node(op, inputs.map((name) => values.get(name)), outputs.length, attributes, opset);
      const refuse = (problem) => {
        if (problem) throw new GraphRefused(`${where}: ${problem}`);
      };
      refuse(wrongNode(node));
      let made;
      try {
        made = infer(node, constant);
      } catch (error) {
        if (!(error instanceof Mismatch)) throw error;
        refuse(`has ${error.message}`);
      }
      refuse(wrongSize(node, made, rows));
      outputs.forEach((name, i) => {
        if (name && values.has(name)) refuse(`makes ${shown(name)}, which there is already`);
        if (name) values.set(name, made[i]);
        made[i].shape?.forEach((n) => sizes.add(n));
      });
    }
    return sizes;
  }
}

function opsetOf(model) {
  const versions = model.blobs(8).map((blob) => {
    const opset = parse(blob, "OPSET", "opset import");
    if (!STANDARD.has(opset.text(1))) {
      throw new GraphRefused(`operators of the domain ${shown(opset.text(1))}; only standard ONNX operators run here`);
    }
    return opset.integer(2);
  });
  if (versions.length !== 1) throw new GraphRefused(`${versions.length} opset imports; there must be one`);
  if (versions[0] < LIMITS.OPSET_MIN || versions[0] > LIMITS.OPSET_MAX) {
    throw new GraphRefused(`opset ${versions[0]}; this runtime runs ${LIMITS.OPSET_MIN} to ${LIMITS.OPSET_MAX}`);
  }
  return versions[0];
}

function metadataOf(model) {
  const entries = model.blobs(14).map((blob) => parse(blob, "ENTRY", "metadata"));
  const metadata = new Map(entries.map((entry) => [entry.text(1), entry.text(2)]));
  if (metadata.size !== entries.length) throw new GraphRefused("a metadata key occurs twice");
  return metadata;
}

/** The value of a Constant that is written as numbers and not as a tensor. */
function plainConstant(attributes, where) {
  for (const [name, field] of [["value_int", 3], ["value_ints", 8], ["value_float", 2], ["value_floats", 7]]) {
    if (!attributes.has(name)) continue;
    const message = attributes.get(name);
    const isWhole = field === 3 || field === 8;
    const element = isWhole ? INT64 : FLOAT;
    const blobs = isWhole ? [] : message.blobs(field);
    if (blobs.some((blob) => blob.length % 4)) throw new GraphRefused(`${where}: ${name} holds no whole numbers of floats`);
    const data = isWhole ? [...message.wholes(field)] : blobs.flatMap((blob) => fromRaw(blob, FLOAT));
    if (data.length > LIMITS.MAX_KNOWN_ELEMENTS) return new Value([data.length], element, { isStatic: true });
    // An attribute may lack its number: what an engine makes of it is not known here.
    const isOne = (name === "value_int" || name === "value_float") && data.length === 1;
    return known(element, isOne ? [] : [data.length], data);
  }
  return null;
}

/** An input or output: name, dtype, element, and dims; a dimension is a number, a name, or null. */
function valueInfo(bytes) {
  const value = parse(bytes, "VALUE_INFO", "input or output");
  const name = value.text(1);
  const where = `input or output ${shown(name)}`;
  for (const kind of value.blobs(2)) {
    const inner = parse(kind, "TYPE", where).blobs(1)[0] ?? new Uint8Array();
    const tensor = parse(inner, "TENSOR_TYPE", where);
    const element = tensor.integer(1);
    const dtype = ELEMENT_TYPES[element];
    const shape = tensor.blobs(2)[0];
    if (dtype === undefined || shape === undefined) break;
    const dims = parse(shape, "SHAPE", where)
      .blobs(1)
      .map((blob) => {
        const dim = parse(blob, "DIMENSION", where);
        return dim.has(1) ? dim.integer(1) : dim.text(2) || null;
      });
    return { name, dtype, element, dims };
  }
  throw new GraphRefused(`${where} is not a tensor of a known type and shape`);
}

/** Name, and what is known of a constant; its numbers where they are few. */
function tensorOf(bytes, place) {
  const tensor = parse(bytes, "TENSOR", place);
  const name = tensor.text(8);
  const where = `${place} ${shown(name)}`;
  if (tensor.integer(14) !== 0) {
    throw new GraphRefused(`${where}: its data lies outside the file (external data), which a bundle may not`);
  }
  const element = tensor.integer(2);
  if (!Object.hasOwn(ITEM_BYTES, element)) {
    throw new GraphRefused(`${where}: element type ${element} is not one of ${Object.values(ELEMENT_TYPES).join(", ")}`);
  }
  const dims = [];
  for (const n of tensor.integers(1)) {
    dims.push(n);
    if (n < 0 || dims.length > LIMITS.MAX_RANK) {
      throw new GraphRefused(`${where}: ${shown(dims)} is not a shape of at most ${LIMITS.MAX_RANK} dimensions`);
    }
  }
  if (boundedProduct(dims, LIMITS.MAX_TENSOR_ELEMENTS) > LIMITS.MAX_TENSOR_ELEMENTS) {
    throw new GraphRefused(`${where}: ${shown(dims)} is not a shape below 2**31 elements`);
  }
  const count = productOf(dims);
  const raw = tensor.blobs(9)[0] ?? null;
  const size = count * ITEM_BYTES[element];
  if (raw && raw.length !== size) throw new GraphRefused(`${where}: ${raw.length} bytes of data for ${size}`);
  const data = count <= LIMITS.MAX_KNOWN_ELEMENTS ? numbersOf(tensor, element, raw) : null;
  const numbers = data?.length === count ? { element, shape: dims, data } : null;
  return [name, new Value(dims, element, { isStatic: true, numbers, raw })];
}

function numbersOf(tensor, element, raw) {
  if (raw) return fromRaw(raw, element);
  const field = TYPED_FIELD[element];
  if (field === undefined || !tensor.has(field)) return [];
  if (field === 4 || field === 10) return tensor.blobs(field).flatMap((blob) => fromRaw(blob, element));
  const numbers = [];
  for (const whole of tensor.wholes(field)) {
    numbers.push(whole);
    if (numbers.length > LIMITS.MAX_KNOWN_ELEMENTS) return null;
  }
  return asElement(numbers, element);
}

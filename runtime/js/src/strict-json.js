// JSON to plain values, refusing everything the tables do not say. `JSON.parse` alone takes duplicate keys, 1e999
// and 1.0 for a whole number; each is refused here.

import { BundleInvalid, shown } from "./errors.js";
import { DEFAULTS, LIMITS, OBJECTS } from "./tables.js";

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const BLANKS = /[ \t\n\r]*/y;
const PLAIN = /[^"\\\x00-\x1f]*/y;
const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const NOT_TEXT = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/u;

/** A number as it was written: `whole` is a BigInt where there is neither fraction nor exponent. */
export class Numeral {
  constructor(text) {
    this.whole = /^-?[0-9]+$/.test(text) ? BigInt(text) : null;
    this.value = Number(text);
  }
}

/** Parse UTF-8 bytes strictly; numbers come back as `Numeral`, objects as `Map`. */
export function parse(bytes, member) {
  const refuse = (problem) => new BundleInvalid(problem, { member });
  if (bytes.length > LIMITS.MAX_MANIFEST_BYTES) {
    throw refuse(`JSON of ${bytes.length} bytes; the limit is ${LIMITS.MAX_MANIFEST_BYTES}`);
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse("not valid JSON: not UTF-8");
  }
  return new Parser(text, refuse).document();
}

class Parser {
  constructor(text, refuse) {
    this.text = text;
    this.at = 0;
    this.refuse = refuse;
  }

  document() {
    const value = this.value(0);
    this.blanks();
    if (this.at !== this.text.length) throw this.wrong();
    return value;
  }

  wrong() {
    return this.refuse(`not valid JSON at character ${this.at}`);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0];
    if (found !== undefined) this.at += found.length;
    return found;
  }

  blanks() {
    this.match(BLANKS);
  }

  /** Take one character if it is the next one. */
  took(c) {
    if (this.text[this.at] !== c) return false;
    this.at++;
    return true;
  }

  value(depth) {
    this.blanks();
    const c = this.text[this.at];
    if (c === "{" || c === "[") {
      if (depth === LIMITS.MAX_JSON_DEPTH) throw this.refuse(`JSON nested more than ${depth} deep`);
      this.at++;
      return c === "{" ? this.object(depth + 1) : this.array(depth + 1);
    }
    if (c === '"') return this.string();
    for (const [word, meant] of [["true", true], ["false", false], ["null", null]]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return meant;
      }
    }
    const number = this.match(NUMBER);
    if (number === undefined) throw this.wrong();
    if (number.length > LIMITS.MAX_JSON_NUMBER) {
      throw this.refuse(`JSON number ${number.slice(0, 20)}... of ${number.length} characters`);
    }
    const numeral = new Numeral(number);
    if (!Number.isFinite(numeral.value)) throw this.refuse(`JSON number ${number.slice(0, 20)} overflows a float`);
    return numeral;
  }

  array(depth) {
    const items = [];
    this.blanks();
    if (this.took("]")) return items;
    do {
      items.push(this.value(depth));
      this.blanks();
    } while (this.took(","));
    if (!this.took("]")) throw this.wrong();
    return items;
  }

  object(depth) {
    const members = new Map();
    this.blanks();
    if (this.took("}")) return members;
    do {
      this.blanks();
      const key = this.string();
      this.blanks();
      if (!this.took(":")) throw this.wrong();
      if (members.has(key)) throw this.refuse(`JSON key ${shown(key)} occurs twice`);
      members.set(key, this.value(depth));
      this.blanks();
    } while (this.took(","));
    if (!this.took("}")) throw this.wrong();
    return members;
  }

  string() {
    if (!this.took('"')) throw this.wrong();
    let text = this.match(PLAIN);
    while (!this.took('"')) {
      if (!this.took("\\")) throw this.wrong();
      const c = this.text[this.at++];
      if (c === "u") {
        const hex = this.text.slice(this.at, this.at + 4);
        if (!/^[0-9a-fA-F]{4}$/.test(hex)) throw this.wrong();
        text += String.fromCharCode(parseInt(hex, 16));
        this.at += 4;
      } else if (Object.hasOwn(ESCAPES, c ?? "")) {
        text += ESCAPES[c];
      } else {
        throw this.wrong();
      }
      text += this.match(PLAIN);
    }
    return text;
  }
}

/**
 * Turn parsed JSON into plain frozen values of the object `name` in the tables.
 *
 * @param check called with the name and the value of each object, innermost first; it raises BundleInvalid.
 */
export function build(name, value, { member, where = "", check = () => {} }) {
  const here = where || "the document";
  if (!(value instanceof Map)) throw new BundleInvalid(`${here} is not an object`, { member });
  const wanted = OBJECTS[name];
  const defaults = DEFAULTS[name] ?? {};
  const path = (key) => (where ? `${where}.${key}` : key);
  for (const key of value.keys()) {
    if (!Object.hasOwn(wanted, key)) throw new BundleInvalid(`unknown key ${path(key.slice(0, 80))}`, { member });
  }
  const built = {};
  for (const [key, type] of Object.entries(wanted)) {
    if (value.has(key)) built[key] = convert(type, value.get(key), { member, where: path(key), check });
    else if (Object.hasOwn(defaults, key)) built[key] = structuredClone(defaults[key]);
    else throw new BundleInvalid(`missing key ${path(key)}`, { member });
  }
  try {
    check(name, built);
  } catch (error) {
    if (!(error instanceof BundleInvalid)) throw error;
    throw new BundleInvalid(`${here}: ${error.problem}`, { member });
  }
  return Object.freeze(built);
}

function convert(type, value, context) {
  const { member, where } = context;
  const refuse = (problem) => new BundleInvalid(`${where} ${problem}`, { member });
  const [kind, inner] = Array.isArray(type) ? type : [type, null];
  switch (kind) {
    case "object":
      return build(inner, value, context);
    case "nullable":
      return value === null ? null : convert(inner, value, context);
    case "enum": {
      const plain = value instanceof Numeral && value.whole !== null ? Number(value.whole) : value;
      if (!inner.includes(plain)) throw refuse(`is ${shown(plain)}; valid are ${inner.join(", ")}`);
      return plain;
    }
    case "array":
      if (!Array.isArray(value)) throw refuse("is not an array");
      return Object.freeze(value.map((item, i) => convert(inner, item, { ...context, where: `${where}[${i}]` })));
    case "map": {
      if (!(value instanceof Map)) throw refuse("is not an object");
      const converted = Object.create(null); // a key such as __proto__ is a key like any other
      for (const [key, item] of value) {
        convert("string", key, { ...context, where: `a key of ${where}` });
        converted[key] = convert(inner, item, { ...context, where: `${where}.${key.slice(0, 80)}` });
      }
      return Object.freeze(converted);
    }
    case "number":
      if (!(value instanceof Numeral)) break;
      if (value.whole !== null && !Number.isSafeInteger(value.value)) break;
      return value.value;
    case "integer":
      if (!(value instanceof Numeral) || value.whole === null) break;
      if (BigInt.asIntN(64, value.whole) !== value.whole) throw refuse("does not fit 64 bits");
      return Number.isSafeInteger(value.value) ? value.value : value.whole;
    case "boolean":
      if (typeof value !== "boolean") break;
      return value;
    case "string":
      if (typeof value !== "string") break;
      // Names are printed: no escape sequence of a terminal, no half of a surrogate pair.
      if (NOT_TEXT.test(value)) throw refuse("holds a character that is not text");
      return value;
  }
  throw refuse(`is no ${kind}`);
}

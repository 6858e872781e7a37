// The wire format of protobuf, and the whole of ONNX that a bundle may use, by the tables WIRE. A field the tables do
// not name is refused, and so is a second value of a field that holds one.

import { GraphRefused } from "./errors.js";
import { FORBIDDEN, LIMITS, WIRE } from "./tables.js";

const WIRE_TYPES = { I: [0], F: [5], B: [2], S: [2], i: [0, 2], f: [5, 2], d: [1, 2] };
const FIXED_BYTES = { 1: 8, 5: 4 };
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const UTF8_REPLACING = new TextDecoder("utf-8", { ignoreBOM: true });

/** Text of bytes; what is not UTF-8 becomes the replacement character. */
export function decoded(bytes) {
  return UTF8_REPLACING.decode(bytes);
}

/** An unsigned 64-bit varint at `at` and where it ends: a number, or a BigInt from 2 ** 53 on. */
export function varint(data, at) {
  let low = 0; // 49 bits
  let high = 0n;
  for (let i = 0; i < 10; i++) {
    if (at >= data.length) throw new GraphRefused("the file ends inside a number: it is cut short or damaged");
    const byte = data[at++];
    if (i < 7) low += (byte & 0x7f) * 2 ** (7 * i);
    else high |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) {
      if (high >> 64n) break;
      const value = high ? high + BigInt(low) : low;
      return [typeof value === "bigint" && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value, at];
    }
  }
  throw new GraphRefused("a number is longer than 64 bits: the file is damaged");
}

/** The fields of one message, by number. */
export class Message {
  constructor() {
    /** @type {Map<number, (number | bigint | Uint8Array)[]>} */
    this.values = new Map();
  }

  has(number) {
    return this.values.has(number);
  }

  /** Signed values of a numeric field as BigInt, packed ones unpacked. */
  *wholes(number) {
    for (const value of this.values.get(number) ?? []) {
      if (!(value instanceof Uint8Array)) {
        yield BigInt.asIntN(64, BigInt(value));
        continue;
      }
      for (let at = 0, one; at < value.length; ) {
        [one, at] = varint(value, at);
        yield BigInt.asIntN(64, BigInt(one));
      }
    }
  }

  /** As `wholes`, as numbers: above 2 ** 53 the nearest one, which every limit refuses alike. */
  *integers(number) {
    for (const whole of this.wholes(number)) yield Number(whole);
  }

  /** The first value of a numeric field. */
  integer(number, otherwise = 0) {
    for (const value of this.integers(number)) return value;
    return otherwise;
  }

  /** Values of a field of bytes, in order. */
  blobs(number) {
    return (this.values.get(number) ?? []).filter((value) => value instanceof Uint8Array);
  }

  texts(number) {
    return this.blobs(number).map((blob) => UTF8.decode(blob));
  }

  text(number) {
    return this.texts(number)[0] ?? "";
  }
}

/**
 * Split one message into its fields.
 *
 * @param {Uint8Array} data the message.
 * @param {string} what the name of its table, such as "NODE".
 * @param {string} where for messages of errors.
 */
export function parse(data, what, where) {
  const table = WIRE[what];
  const kindOfMessage = what.toLowerCase().replaceAll("_", " ");
  const refuse = (problem) => new GraphRefused(`${where}: ${problem}`);
  const message = new Message();
  const end = data.length;
  let at = 0;
  let fields = 0;
  while (at < end) {
    if (++fields > LIMITS.MAX_FIELDS) throw refuse(`holds more than ${LIMITS.MAX_FIELDS} fields of ${kindOfMessage}`);
    let tag, value;
    [tag, at] = varint(data, at);
    const number = typeof tag === "number" ? Math.floor(tag / 8) : tag >> 3n;
    const wire = Number(BigInt(tag) & 7n);
    const kind = table[number];
    if (kind === undefined) {
      const known = FORBIDDEN[`${kindOfMessage} ${number}`];
      throw refuse(
        known ? `holds ${known}, which a bundle may not` : `holds the unknown field ${number} of ${kindOfMessage}`,
      );
    }
    const letter = kind[kind.length - 1];
    if (!WIRE_TYPES[letter].includes(wire)) {
      throw refuse(`field ${number} of ${kindOfMessage} has wire type ${wire}: the file is damaged`);
    }
    if (wire === 0) {
      [value, at] = varint(data, at);
    } else {
      let size = FIXED_BYTES[wire];
      if (size === undefined) [size, at] = varint(data, at);
      if (size > end - at) {
        throw refuse(`field ${number} of ${kindOfMessage} is longer than the file: it is cut short or damaged`);
      }
      value = data.subarray(at, at + size);
      at += size;
    }
    if (letter === "S") {
      try {
        UTF8.decode(value);
      } catch {
        throw refuse(`a text in field ${number} of ${kindOfMessage} is not UTF-8`);
      }
    }
    const values = message.values.get(number) ?? [];
    if (values.length && kind === kind.toUpperCase() && !kind.includes("*")) {
      throw refuse(`field ${number} of ${kindOfMessage} occurs twice`);
    }
    values.push(value);
    message.values.set(number, values);
  }
  return message;
}

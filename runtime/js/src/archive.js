// The container: one ZIP with exactly one possible encoding of its members. Name, size and CRC-32 of each entry are
// taken from the directory, all headers are encoded again, and every difference from the file is refused.

import { crc32 } from "./checksums.js";
import { BundleCorrupt, BundleError, BundleInvalid } from "./errors.js";
import { LIMITS } from "./tables.js";

export const MANIFEST_MEMBER = "manifest.json";
const ALIGNMENT_BYTES = 64;
const LOCAL = 30;
const CENTRAL = 46;
const END = 22;
const EXTRA = 4;
const EXTRA_ID = 0x5645;
const VERSION = 20;
const DATE = (1 << 5) | 1; // 1980-01-01, the zero of DOS time

const NAME = /^[a-z0-9][a-z0-9_.-]{0,63}(\/[a-z0-9][a-z0-9_.-]{0,63}){0,3}$/;
const RESERVED = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$/; // devices, not files, on Windows

/** Whether `name` may be a member: lower-case ASCII, 1 to 4 parts, a file name on every system. */
export function isMemberName(name) {
  return NAME.test(name) && !name.split("/").some((part) => RESERVED.test(part) || part.endsWith("."));
}

/** A bundle's bytes whose headers were checked and whose members were not read yet. */
export class Archive {
  /** @param {Uint8Array} bytes the whole file. */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length === 0) throw new BundleCorrupt("is empty: copy the file again");
    if (bytes.length > LIMITS.MAX_BUNDLE_BYTES) {
      throw new BundleInvalid(`holds ${bytes.length} bytes; a bundle stays below 2 GiB`);
    }
    /** @type {Map<string, {name: string, size: number, crc: number, header: number, offset: number}>} */
    this.entries = new Map(this.#checkedEntries().map((entry) => [entry.name, entry]));
  }

  /** All bytes of one member, without a copy; the CRC-32 is checked. */
  read(name) {
    const data = this.unchecked(name);
    if (crc32(data) !== this.entries.get(name).crc) {
      throw new BundleCorrupt("its bytes were changed after export: copy the file again", { member: name });
    }
    return data;
  }

  /** As `read`, for who compares a SHA-256. */
  unchecked(name) {
    const entry = this.entries.get(name);
    if (!this.bytes.length) {
      throw new BundleError("its bytes were transferred to another thread: open the bundle from a copy", { member: name });
    }
    if (!entry) throw new BundleInvalid("there is no such member", { member: name });
    return this.bytes.subarray(entry.offset, entry.offset + entry.size);
  }

  #checkedEntries() {
    const start = this.#directoryStart();
    const entries = layout(this.#parseDirectory(start));
    if (!sameBytes(directory(entries), this.bytes.subarray(start))) throw notCanonical("the directory");
    for (const entry of entries) {
      if (!sameBytes(localHeader(entry), this.bytes.subarray(entry.header, entry.offset))) {
        throw notCanonical("the header", entry.name);
      }
    }
    return entries;
  }

  #directoryStart() {
    const cut = () =>
      new BundleCorrupt("does not end like a bundle: cut short, added to, or no bundle at all; copy it again");
    const end = this.bytes.length - END;
    if (end < 0) throw cut();
    const count = this.view.getUint16(end + 10, true);
    const size = this.view.getUint32(end + 12, true);
    const start = this.view.getUint32(end + 16, true);
    if (this.view.getUint32(end, true) !== 0x06054b50 || start + size !== end) throw cut();
    if (count > LIMITS.MAX_MEMBERS || size > LIMITS.MAX_MEMBERS * (CENTRAL + 260)) {
      throw new BundleInvalid(`${count} members in ${size} bytes of directory; the limit is ${LIMITS.MAX_MEMBERS}`);
    }
    return start;
  }

  /** Name to [size, CRC-32] in file order; whether the rest is canonical is seen by encoding again. */
  #parseDirectory(start) {
    const sizes = new Map();
    const stop = this.bytes.length - END;
    let position = start;
    while (position < stop) {
      if (stop - position < CENTRAL) throw notCanonical("the directory");
      const crc = this.view.getUint32(position + 16, true);
      const size = this.view.getUint32(position + 24, true);
      const nameBytes = this.view.getUint16(position + 28, true);
      position += CENTRAL + nameBytes;
      let name = "";
      for (const byte of this.bytes.subarray(position - nameBytes, Math.min(position, stop))) {
        name += String.fromCharCode(byte);
      }
      if (sizes.has(name)) throw new BundleInvalid("occurs twice", { member: name });
      sizes.set(name, [size, crc]);
    }
    return sizes;
  }
}

function notCanonical(what, member = null) {
  return new BundleCorrupt(`${what} is not as vae-edge writes it: damaged, or packed by another ZIP tool`, { member });
}

function sameBytes(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Place members, given as name -> [size, CRC-32], the way the format demands. */
function layout(sizes) {
  if (!sizes.has(MANIFEST_MEMBER)) {
    throw new BundleInvalid(`there is no ${MANIFEST_MEMBER}: this is not a vae-edge bundle`);
  }
  if (sizes.size > LIMITS.MAX_MEMBERS) {
    throw new BundleInvalid(`${sizes.size} members; the limit is ${LIMITS.MAX_MEMBERS}`);
  }
  const names = [...sizes.keys()].filter((name) => name !== MANIFEST_MEMBER).sort();
  const entries = [];
  let position = 0;
  for (const name of [MANIFEST_MEMBER, ...names]) {
    if (!isMemberName(name)) throw new BundleInvalid(`member name ${JSON.stringify(name.slice(0, 80))} is not valid`);
    const parts = name.split("/");
    if (parts.some((_, i) => i > 0 && sizes.has(parts.slice(0, i).join("/")))) {
      throw new BundleInvalid(`member ${name} lies inside another member`);
    }
    const [size, crc] = sizes.get(name);
    const fixed = position + LOCAL + name.length + EXTRA;
    const offset = Math.ceil(fixed / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    entries.push({ name, size, crc, header: position, offset });
    position = offset + size;
  }
  const whole = entries.reduce((sum, entry) => sum + CENTRAL + entry.name.length, position + END);
  if (whole > LIMITS.MAX_BUNDLE_BYTES) throw new BundleInvalid("a bundle must stay below 2 GiB");
  return entries;
}

/** A writer of little-endian numbers and ASCII text. */
function writer(size) {
  const view = new DataView(new ArrayBuffer(size));
  let at = 0;
  return {
    bytes: new Uint8Array(view.buffer),
    shorts: (...values) => values.forEach((value) => (view.setUint16(at, value, true), (at += 2))),
    longs: (...values) => values.forEach((value) => (view.setUint32(at, value, true), (at += 4))),
    text: (name) => [...name].forEach((c) => view.setUint8(at++, c.charCodeAt(0))),
  };
}

function localHeader(entry) {
  const padding = entry.offset - entry.header - LOCAL - entry.name.length - EXTRA;
  const out = writer(entry.offset - entry.header);
  out.longs(0x04034b50);
  out.shorts(VERSION, 0, 0, 0, DATE);
  out.longs(entry.crc, entry.size, entry.size);
  out.shorts(entry.name.length, EXTRA + padding);
  out.text(entry.name);
  out.shorts(EXTRA_ID, padding);
  return out.bytes;
}

/** Central directory and end record: everything after the last member's data. */
function directory(entries) {
  const last = entries[entries.length - 1];
  const size = entries.reduce((sum, entry) => sum + CENTRAL + entry.name.length, 0);
  const out = writer(size + END);
  for (const entry of entries) {
    out.longs(0x02014b50);
    out.shorts(VERSION, VERSION, 0, 0, 0, DATE);
    out.longs(entry.crc, entry.size, entry.size);
    out.shorts(entry.name.length, 0, 0, 0, 0);
    out.longs(0, entry.header);
    out.text(entry.name);
  }
  out.longs(0x06054b50);
  out.shorts(0, 0, entries.length, entries.length);
  out.longs(size, last.offset + last.size);
  out.shorts(0);
  return out.bytes;
}

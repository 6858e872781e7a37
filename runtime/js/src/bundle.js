// An open bundle: the archive, its manifest, and bytes that match their hashes.

import { Archive, MANIFEST_MEMBER } from "./archive.js";
import { sha256 } from "./checksums.js";
import {
  BundleCorrupt, BundleError, BundleInvalid, BundleTooNew, GraphRefused, located, OptionError, PairMismatch,
  ProviderUnavailable, shown,
} from "./errors.js";
import { isOlder, readManifest, remedy } from "./manifest.js";
import { scan } from "./onnx-scan.js";
import { LIMITS } from "./tables.js";

const PAIR_ID = "vae_edge.pair_id";

/** A bundle whose structure was checked; its members are hashed when they are read. Use `Bundle.open`. */
export class Bundle {
  /**
   * Check everything but the bytes of the members.
   *
   * @param {ArrayBuffer | SharedArrayBuffer | ArrayBufferView | Blob | string | URL} source bytes, or where to fetch them.
   */
  static async open(source) {
    const [bytes, path] = await bytesOf(source);
    try {
      const bundle = new Bundle();
      await bundle.#read(bytes, path);
      return bundle;
    } catch (error) {
      throw located(error, { path });
    }
  }

  #archive;
  #signed = new Set();

  async #read(bytes, path) {
    this.path = path;
    this.sizeBytes = bytes.length;
    this.#archive = new Archive(bytes);
    const { size } = this.#archive.entries.get(MANIFEST_MEMBER);
    if (size > LIMITS.MAX_MANIFEST_BYTES) {
      const problem = `holds ${size} bytes; the limit is ${LIMITS.MAX_MANIFEST_BYTES}`;
      throw new BundleInvalid(problem, { member: MANIFEST_MEMBER });
    }
    const raw = this.#archive.read(MANIFEST_MEMBER);
    this.bundleId = await sha256(raw);
    this.manifest = readManifest(raw);
    this.#checkRequirements();
    this.#checkMembers();
  }

  /** The verified bytes of one member, as a copy. */
  async read(member) {
    return this.#located(async () => {
      const data = this.#archive.read(member).slice();
      if (member !== MANIFEST_MEMBER) await this.#checkHash(member, data);
      return data;
    });
  }

  /** One ONNX file, ready for an engine: joined, hashed, and looked through. */
  async graph(variant, graph) {
    const spec = this.#graphSpec(variant, graph);
    return this.#located(async () => {
      const joined = new Uint8Array(spec.size_bytes);
      let at = 0;
      for (const part of spec.parts) {
        const data = this.#archive.unchecked(part);
        joined.set(data, at);
        at += data.length;
      }
      // The hash of the whole covers every part; the parts' own say which one is to blame.
      if ((await sha256(joined)) !== spec.sha256) {
        for (const part of spec.parts) await this.#checkHash(part, this.#archive.read(part));
        const problem = "its joined parts are not the graph the manifest names";
        throw new BundleCorrupt(problem, { member: spec.parts[0] });
      }
      this.#lookThrough(joined, variant, graph, spec);
      return joined;
    });
  }

  /** Whether 8-bit weights of a graph have a sign; known once `graph` gave it. */
  hasSignedWeights(variant, graph) {
    return this.#signed.has(`${variant} ${graph}`);
  }

  /** A variant's name: `auto` is fp32 where there is one. */
  chooseVariant(wish) {
    const names = Object.keys(this.manifest.variants).sort();
    if (wish === "auto") return names.includes("fp32") ? "fp32" : names[0];
    if (typeof wish !== "string" || !names.includes(wish)) {
      throw new OptionError(`variant is ${shown(wish)}; this bundle has ${names.join(", ")}`);
    }
    return wish;
  }

  /** Refuse an engine that is older than the graphs need. */
  checkEngine(version) {
    const wanted = this.manifest.requires.onnxruntime;
    if (isOlder(version, wanted)) {
      const problem = `the bundle needs onnxruntime ${wanted} or newer, this is ${version}: update the package`;
      throw new ProviderUnavailable(problem);
    }
  }

  /** Hash every member; the one that differs is named. */
  async verifyMembers() {
    return this.#located(async () => {
      for (const member of Object.keys(this.manifest.members)) {
        await this.#checkHash(member, this.#archive.read(member));
      }
    });
  }

  async #located(action) {
    try {
      return await action();
    } catch (error) {
      throw located(error, { path: this.path });
    }
  }

  #graphSpec(variant, graph) {
    const { graphs } = this.manifest.variants[this.chooseVariant(variant)];
    if (!(graph in graphs)) {
      throw new OptionError(`graph is ${shown(graph)}; valid are ${Object.keys(graphs).join(", ")}`);
    }
    return graphs[graph];
  }

  /** Refuse a graph that this runtime does not run, or that is not the one of the manifest. */
  #lookThrough(joined, variant, graph, spec) {
    const where = `${this.path} [${variant} ${graph}]`.trim();
    let facts;
    try {
      facts = scan(joined, (seen) => this.#checkFacts(seen, spec));
    } catch (error) {
      if (error instanceof GraphRefused) throw new GraphRefused(`${where}: ${error.problem}`);
      throw error;
    }
    if (facts.signedWeights) this.#signed.add(`${variant} ${graph}`);
    const pair = facts.metadata.get(PAIR_ID);
    if (pair !== this.manifest.pair_id) {
      throw new PairMismatch(
        `${where} belongs to model ${shown(pair)}, the bundle to ${this.manifest.pair_id}: ` +
          "its graphs were put together from two exports",
      );
    }
  }

  async #checkHash(member, data) {
    if ((await sha256(data)) !== this.manifest.members[member].sha256) {
      throw new BundleCorrupt("its SHA-256 is not the manifest's: copy the file again", { member });
    }
  }

  #checkRequirements() {
    const { requires, made_with } = this.manifest;
    const limits = [["opset", requires.opset, LIMITS.OPSET_MAX], ["IR version", requires.ir_version, LIMITS.IR_VERSION_MAX]];
    for (const [what, wanted, have] of limits) {
      if (wanted > have) {
        throw new BundleTooNew(`needs ${what} ${wanted}, this runtime has ${have}: ${remedy(made_with.vae_edge)}`);
      }
    }
  }

  #checkMembers() {
    const listed = this.manifest.members;
    const { entries } = this.#archive;
    for (const name of entries.keys()) {
      if (name !== MANIFEST_MEMBER && !(name in listed)) {
        throw new BundleInvalid("is in the file and not in the manifest", { member: name });
      }
    }
    for (const [name, spec] of Object.entries(listed)) {
      const size = entries.get(name)?.size;
      if (size === undefined) throw new BundleInvalid("is in the manifest and not in the file", { member: name });
      if (size !== spec.size_bytes) {
        throw new BundleInvalid(`holds ${size} bytes; the manifest says ${spec.size_bytes}`, { member: name });
      }
    }
  }

  /** What the graph is against what the manifest says it is. */
  #checkFacts(facts, spec) {
    const { requires } = this.manifest;
    for (const [what, have, said] of [
      ["opset", facts.opset, requires.opset],
      ["IR version", facts.irVersion, requires.ir_version],
    ]) {
      if (have > said) throw new GraphRefused(`${what} ${have}; the manifest says ${said}`);
    }
    for (const side of ["inputs", "outputs"]) {
      const [names, wanted] = [facts[side], spec[side]].map((values) => values.map(({ name }) => name));
      if (JSON.stringify(names) !== JSON.stringify(wanted)) {
        throw new GraphRefused(`${side} are ${shown(names)}; the manifest says ${shown(wanted)}`);
      }
      facts[side].forEach(({ name, dtype, dims }, i) => {
        const { shape } = spec[side][i];
        const row = dims.slice(1);
        const same = row.length === shape.length && shape.every((n, axis) => row[axis] === Number(n));
        if (dtype !== spec[side][i].dtype || !same || !dims.length || typeof dims[0] === "number") {
          throw new GraphRefused(`${side} ${shown(name)} differ from the manifest in type or shape, or have a fixed batch`);
        }
      });
    }
  }
}

/** Bytes of a source, and its address where it has one. The bytes of the caller are neither copied nor written to. */
async function bytesOf(source) {
  if (typeof source === "string" || source instanceof URL) return [await fetched(source), String(source)];
  if (typeof Blob !== "undefined" && source instanceof Blob) {
    return [new Uint8Array(await source.arrayBuffer()), source.name ?? ""];
  }
  if (ArrayBuffer.isView(source)) return [new Uint8Array(source.buffer, source.byteOffset, source.byteLength), ""];
  const isShared = typeof SharedArrayBuffer !== "undefined" && source instanceof SharedArrayBuffer;
  if (source instanceof ArrayBuffer || isShared) return [new Uint8Array(source), ""];
  throw new OptionError(`the bundle is ${shown(source)}; pass its bytes, a Blob (a File), or a URL`);
}

async function fetched(url) {
  const path = String(url);
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    const hint = globalThis.process?.versions?.node ? "; read a file yourself and pass its bytes" : "";
    throw new BundleError(`cannot be fetched: ${error.message}${hint}`, { path });
  }
  if (!response.ok) throw new BundleError(`cannot be fetched: the server answers ${response.status}`, { path });
  return new Uint8Array(await response.arrayBuffer());
}

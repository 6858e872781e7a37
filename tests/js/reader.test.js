// The strict reader, without an engine: what it takes, and what it refuses by which name.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { sha256, sha256InScript } from "../../runtime/js/src/checksums.js";
import {
  Bundle, BundleCorrupt, BundleError, BundleInvalid, BundleTooNew, GraphRefused, OptionError, VaeEdgeError,
} from "../../runtime/js/src/index.js";
import { build, parse } from "../../runtime/js/src/strict-json.js";
import { scan } from "../../runtime/js/src/onnx-scan.js";
import { bundle, BUNDLES, flipped, text, withManifest } from "./support.js";

for (const name of BUNDLES) {
  test(`${name} opens, and every member and graph of it is accepted`, async () => {
    const opened = await Bundle.open(bundle(name));
    await opened.verifyMembers();
    for (const [variant, { graphs }] of Object.entries(opened.manifest.variants)) {
      for (const graph of Object.keys(graphs)) assert.ok((await opened.graph(variant, graph)).length > 0);
    }
  });
}

test("the bundle id is the SHA-256 of the manifest", async () => {
  const opened = await Bundle.open(bundle("v1-table.vaeb"));
  const manifest = await opened.read("manifest.json");
  assert.equal(opened.bundleId, createHash("sha256").update(manifest).digest("hex"));
});

test("SHA-256 in script is that of the platform for every length around a block", async () => {
  for (let length = 0; length < 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) % 256);
    const wanted = createHash("sha256").update(bytes).digest("hex");
    assert.equal(sha256InScript(bytes), wanted);
    assert.equal(await sha256(bytes), wanted);
    assert.equal(await sha256(bytes, undefined), wanted);
  }
});

test("a bundle that is cut short after any of its last 200 and first 200 bytes is corrupt", async () => {
  const good = bundle("v1-gaussian.vaeb");
  const cuts = [...Array(200).keys()].flatMap((n) => [n, good.length - 1 - n]);
  for (const length of cuts) await assert.rejects(Bundle.open(good.slice(0, length)), BundleCorrupt, String(length));
});

test("a bundle with one bit changed is refused wherever the bit is", async () => {
  const good = bundle("v1-gaussian.vaeb");
  for (let at = 0; at < good.length; at += 37) {
    const check = async () => {
      const opened = await Bundle.open(flipped(good, at, at % 8));
      await opened.verifyMembers();
    };
    await assert.rejects(check, BundleError, `byte ${at}`);
  }
});

test("a bundle that another tool packed again, or that has something before or behind it, is corrupt", async () => {
  const good = bundle("v1-gaussian.vaeb");
  const longer = (before, after) => new Uint8Array(Buffer.concat([before, good, after]));
  await assert.rejects(Bundle.open(longer(new Uint8Array(1), new Uint8Array())), BundleCorrupt);
  await assert.rejects(Bundle.open(longer(new Uint8Array(), new Uint8Array(1))), BundleCorrupt);
  const repacked = good.slice();
  repacked[10] = 1; // the time of the first member: another tool writes the hour
  await assert.rejects(Bundle.open(repacked), BundleCorrupt);
});

test("the test's own packer makes what the reader takes", async () => {
  const good = bundle("v1-gaussian.vaeb");
  await Bundle.open(await withManifest(good, () => {}));
});

const REFUSED = [
  ["a newer schema", BundleTooNew, (m) => (m.schema_version = 99)],
  ["a newer reader asked for", BundleTooNew, (m) => (m.requires.runtime_schema = 99)],
  ["a newer opset", BundleTooNew, (m) => (m.requires.opset = 99)],
  ["schema version 0", BundleInvalid, (m) => (m.schema_version = 0)],
  ["an unknown key", BundleInvalid, (m) => (m.surprise = 1)],
  ["a missing key", BundleInvalid, (m) => delete m.latent],
  ["a key called __proto__", BundleInvalid, (m) => Object.defineProperty(m, "__proto__", { value: {}, enumerable: true })],
  ["true for a number", BundleInvalid, (m) => (m.release = true)],
  ["release 0", BundleInvalid, (m) => (m.release = 0)],
  ["an escape sequence in a name", BundleInvalid, (m) => (m.model.name = "\u001b[2J")],
  ["another size of a graph", BundleInvalid, (m) => m.variants.fp32.graphs.score.size_bytes++],
  ["a head that is none", BundleInvalid, (m) => (m.score.heads = ["psychic"])],
  ["a layout that does not fit", BundleInvalid, (m) => (m.input.layout = "nchw")],
];
for (const [what, kind, change] of REFUSED) {
  test(`a manifest with ${what} is refused as ${kind.name}`, async () => {
    await assert.rejects(withManifest(bundle("v1-gaussian.vaeb"), change).then(Bundle.open), kind);
  });
}

test("an error names the bundle that is newer and what to update", async () => {
  const newer = await withManifest(bundle("v1-gaussian.vaeb"), (m) => {
    m.schema_version = 98;
    m.made_with.vae_edge = "7.1.0";
  });
  await assert.rejects(Bundle.open(newer), /manifest\.json.*update vae-edge .* to 7\.1\.0/);
});

const NOT_JSON = [
  "", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "NaN", "Infinity", "-Infinity", "1e999", "01", "+1", ".5", "1.", "'a'",
  "\"\n\"", "\"\\x\"", "\"\\u12\"", "nul", "[1] 2", "\ufeff1", "[".repeat(17) + "]".repeat(17), "1".repeat(65), "\u00a01",
];
test("JSON that another reader might take is refused", () => {
  for (const json of NOT_JSON) assert.throws(() => parse(text(json), "m"), BundleInvalid, json);
  assert.throws(() => parse(Uint8Array.of(0x22, 0xff, 0x22), "m"), BundleInvalid);
  for (const json of ["1", " [ ] ", "{\"a\":{\"b\":[1.5e3,-0,null]}}", "\"\\ud83d\\ude00\"", "[".repeat(16) + "]".repeat(16)]) {
    parse(text(json), "m");
  }
});

test("a whole number is one of 64 bits without a point, and half a surrogate pair is no text", () => {
  const release = (json) => build("MemberSpec", parse(text(`{"size_bytes": ${json}, "sha256": "x"}`), "m"), { member: "m" }).size_bytes;
  assert.equal(release("12"), 12);
  assert.equal(release("9223372036854775807"), 9223372036854775807n);
  for (const json of ["9223372036854775808", "1.0", "1e2", "true", "\"1\"", "null"]) {
    assert.throws(() => release(json), BundleInvalid, json);
  }
  const name = (json) => build("MemberSpec", parse(text(`{"size_bytes": 1, "sha256": ${json}}`), "m"), { member: "m" });
  assert.throws(() => name("\"\\ud83d\""), BundleInvalid);
  assert.equal(name("\"\\ud83d\\ude00\"").sha256, "😀");
});

test("a graph cut after any byte, or with one bit changed, is refused or scanned, and nothing else is raised", async () => {
  const opened = await Bundle.open(bundle("v1-window.vaeb"));
  const graph = await opened.graph("fp32", "score");
  let refused = 0;
  const look = (bytes) => {
    try {
      scan(bytes);
    } catch (error) {
      assert.ok(error instanceof GraphRefused, `${error.stack}`);
      refused++;
    }
  };
  for (let at = 0; at < graph.length; at += 13) look(graph.subarray(0, at));
  assert.ok(refused > (graph.length / 13) * 0.9);
  for (let at = 0; at < graph.length; at += 7) look(flipped(graph, at, at % 8));
});

test("a view with an offset is read as what it shows, and the caller's bytes are not written to", async () => {
  const good = bundle("v1-gaussian.vaeb");
  const wide = new Uint8Array(good.length + 13).fill(7);
  wide.set(good, 5);
  const before = createHash("sha256").update(wide).digest("hex");
  const opened = await Bundle.open(wide.subarray(5, 5 + good.length));
  await opened.verifyMembers();
  await opened.graph("fp32", "score");
  assert.equal(createHash("sha256").update(wide).digest("hex"), before);
  assert.equal((await Bundle.open(new DataView(wide.buffer, 5, good.length))).bundleId, opened.bundleId);
  assert.equal((await Bundle.open(good.buffer)).bundleId, opened.bundleId);
  assert.equal((await Bundle.open(new Blob([good]))).bundleId, opened.bundleId);
  const shared = new Uint8Array(new SharedArrayBuffer(good.length));
  shared.set(good);
  const ofShared = await Bundle.open(shared);
  await ofShared.verifyMembers();
  assert.equal(ofShared.bundleId, opened.bundleId);
});

test("what is no bundle at all is refused with a name, and every error is a VaeEdgeError", async () => {
  for (const source of [undefined, null, 7, {}, [1, 2], () => 1]) await assert.rejects(Bundle.open(source), OptionError);
  for (const source of [new Uint8Array(), text("hello"), new Uint8Array(1000)]) {
    await assert.rejects(Bundle.open(source), BundleCorrupt);
  }
  await assert.rejects(Bundle.open("http://127.0.0.1:9/none.vaeb"), VaeEdgeError);
  await assert.rejects(Bundle.open("data:text/plain,hello"), /data:text\/plain,hello: does not end like a bundle/);
});

test("a bundle of schema version 1 is brought up to date, and one with tables to compress rows is read", async () => {
  const opened = await Bundle.open(bundle("v1-gaussian.vaeb"));
  assert.equal(opened.manifest.compression, null);
  assert.ok(opened.manifest.schema_version > 1);
  assert.deepEqual([opened.manifest.input.codes, opened.manifest.score.decides_by], [[], null]);
  const mode = {
    name: "latents", kind: "latents", predictor: "vae", bound: [], member: "golden/input.bin", rows: 1, row_bytes: 3,
    latent_bytes: 3, largest_error: 0, flipped: null,
  };
  const compression = (change) => (m) => {
    mode.member = m.golden.input;
    m.schema_version = 2;
    m.compression = { spread: [1], margin: [1], modes: [{ ...mode, ...change }] };
  };
  await Bundle.open(await withManifest(bundle("v1-gaussian.vaeb"), compression({})));
  for (const change of [{ bound: [1] }, { kind: "exact" }, { rows: 0 }, { predictor: "near" }, { flipped: -1 }]) {
    await assert.rejects(withManifest(bundle("v1-gaussian.vaeb"), compression(change)).then(Bundle.open), BundleInvalid);
  }
});

test("tiles of pictures are checked against the model", async () => {
  const good = bundle("v1-picture.vaeb");
  const overlap = (value, more = {}) => (m) => Object.assign(m.input, { overlap: value }, more);
  for (const value of [0, 6, null]) await Bundle.open(await withManifest(good, overlap(value)));
  for (const change of [overlap(7), overlap(-1), overlap(1.5), overlap(2, { fit: "pad" }), overlap(null, { fit: "guess" })]) {
    await assert.rejects(withManifest(good, change).then(Bundle.open), BundleInvalid);
  }
  await assert.rejects(withManifest(bundle("v1-table.vaeb"), overlap(0)).then(Bundle.open), BundleInvalid);
});

test("codes and the head that decides are checked against the model", async () => {
  const good = bundle("v1-table.vaeb");
  const codes = (list) => (m) => (m.input.codes = list);
  await Bundle.open(await withManifest(good, codes([{ column: 0, low: 0, high: 9 }, { column: 5, low: -1, high: 1 }])));
  const wrong = [
    [{ column: 6, low: 0, high: 1 }], [{ column: -1, low: 0, high: 1 }], [{ column: 0, low: 2, high: 1 }],
    [{ column: null, low: 0, high: 1 }, { column: 0, low: 0, high: 1 }], [{ column: 0, low: 0, high: 1.5 }],
  ];
  for (const list of wrong) await assert.rejects(withManifest(good, codes(list)).then(Bundle.open), BundleInvalid);
  await Bundle.open(await withManifest(good, (m) => (m.score.decides_by = "mahalanobis")));
  for (const head of ["kl", "elbo", "ssim", "psychic"]) {
    await assert.rejects(withManifest(good, (m) => (m.score.decides_by = head)).then(Bundle.open), BundleInvalid, head);
  }
});

// Sessions on both engines: golden vectors of the corpus, its figures, and what a caller can do wrong.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  BackendError, BundleCorrupt, CalibrationError, InputError, open, OptionError, PairMismatch, ProviderUnavailable, SessionClosed,
  standardNormal, Status, verify,
} from "../../runtime/js/src/index.js";
import { bundle, BUNDLES, CORPUS, engine, noEngine, withManifest } from "./support.js";

const FIGURES = JSON.parse(readFileSync(join(CORPUS, "figures.json"), "utf8"));
const options = { skip: noEngine };

test("noise is that of docs/concepts.md, bit for bit", () => {
  const bits = (key) => [...new Uint32Array(standardNormal(4, key).buffer)].map((n) => n.toString(16)).join(" ");
  assert.equal(bits({ seed: 0 }), "c011668d bf338a3a bf9c078b 3e26104d");
  assert.equal(bits({ seed: 7, stream: 1 }), "3f97fd04 beab36aa 3d2f4f84 bedeb53d");
  assert.equal(bits({ seed: 2n ** 64n - 1n }), "bf3900d8 3f132ac0 be65e7e9 3f1248c7");
  assert.deepEqual(standardNormal(7, { seed: 5 }), standardNormal(1001, { seed: 5 }).subarray(0, 7));
  for (const seed of [-1, 1.5, 2 ** 53, 2n ** 64n, "7", null, undefined]) {
    assert.throws(() => standardNormal(1, { seed }), OptionError);
  }
});

for (const kind of ["node", "wasm"]) {
  for (const name of BUNDLES) {
    test(`${kind}: the golden vectors of ${name} are right`, options, async () => {
      const verification = await verify(bundle(name), { ort: await engine(kind) });
      const failed = verification.checks.filter((check) => !check.passed);
      assert.deepEqual(failed, []);
      assert.ok(verification.ok && verification.checks.length >= 5);
      assert.equal(verification.members, 1 + Object.keys((await open(bundle(name), { ort: await engine(kind) })).manifest.members).length);
    });
  }

  test(`${kind}: thresholds and the decisions of golden rows are those of the corpus`, options, async () => {
    const vae = await open(bundle("v1-table.vaeb"), { ort: await engine(kind) });
    const stored = FIGURES["v1-table.vaeb"].variants.fp32;
    const golden = await vae.readMember(vae.manifest.golden.input);
    const x = new Float32Array(golden.buffer);
    const scores = await vae.score(x, { heads: "all", maps: true });
    assert.deepEqual(Object.keys(scores.heads), [...vae.heads]);
    for (const [head, figures] of Object.entries(stored.heads)) {
      const got = scores.heads[head];
      assert.ok(Math.abs(got.threshold / figures.threshold - 1) < 1e-8, head);
      for (let row = 0; row < scores.length; row++) {
        assert.ok(Math.abs(got.score[row] - figures.score[row]) <= 1e-3 * Math.abs(figures.score[row]) + 1e-5, head);
        assert.ok(Math.abs(got.pValue[row] - figures.p_value[row]) <= 0.02, head);
        assert.equal(got.isAnomaly[row], figures.is_anomaly[row], head);
      }
    }
    const sum = scores.map.row(1).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - scores.reconstruction[1]) < 1e-4 * sum);
    await vae.close();
  });
}

const table = async (given = {}) => open(bundle("v1-gaussian.vaeb"), { ort: await engine("node"), ...given });
const rows = (n, width = 6) => Float32Array.from({ length: n * width }, (_, i) => Math.sin(i));

test("a row that is not finite gets a status and changes no row beside it", options, async () => {
  const vae = await table();
  const good = await vae.score(rows(5), { maps: true });
  const x = rows(5);
  x[2 * 6 + 3] = NaN;
  x[4 * 6] = -Infinity;
  const scores = await vae.score(x, { maps: true });
  assert.deepEqual([...scores.status], [0, 1, 1, 0, 1].map((_, i) => (i === 2 || i === 4 ? Status.NON_FINITE_INPUT : 0)));
  for (const row of [0, 1, 3]) {
    assert.equal(scores.score[row], good.score[row]);
    assert.deepEqual(scores.map.row(row), good.map.row(row));
  }
  for (const row of [2, 4]) {
    assert.ok(Number.isNaN(scores.score[row]) && Number.isNaN(scores.pValue[row]) && Number.isNaN(scores.map.row(row)[0]));
    assert.equal(scores.isAnomaly[row], false);
  }
  assert.deepEqual([scores.toRows()[2].score, scores.toRows()[2].is_anomaly, scores.toRows()[2].status], [null, null, "non_finite_input"]);
  assert.ok(Number.isNaN(x[2 * 6 + 3])); // the caller's array is as it was
  const posterior = await vae.encode(x);
  assert.ok(Number.isNaN(posterior.mean.row(2)[0]) && Number.isFinite(posterior.mean.row(1)[0]));
  await assert.rejects(vae.reconstruct(x), /row 2 of x is not finite/);
});

test("0 rows, 1 row and 200 rows give as many scores, and the same for the same row", options, async () => {
  const vae = await table();
  assert.equal((await vae.score(new Float32Array())).length, 0);
  assert.deepEqual((await vae.encode(new Float32Array())).mean.shape.slice(0, 1), [0]);
  const many = await vae.score(rows(200), { maps: true });
  const [one] = (await vae.score(rows(200).subarray(150 * 6, 151 * 6))).score;
  assert.equal(many.length, 200);
  assert.ok(Math.abs(many.score[150] - one) <= 1e-5 * Math.abs(one));
  assert.deepEqual(many.map.shape, [200, 6]);
});

const WRONG_ROWS = [
  ["nothing", undefined], ["null", null], ["a list", [1, 2, 3]], ["text", "x"], ["a Float64Array", new Float64Array(6)],
  ["a Uint8Array", new Uint8Array(6)], ["a buffer", new ArrayBuffer(24)], ["a DataView", new DataView(new ArrayBuffer(24))],
  ["7 elements", new Float32Array(7)], ["another shape", { data: new Float32Array(6), shape: [6] }],
  ["a wrong number of rows", { data: new Float32Array(6), shape: [2, 6] }], ["dims of text", { data: new Float32Array(6), dims: "1,6" }],
  ["a negative shape", { data: new Float32Array(0), shape: [-1, 6] }], ["NaN rows", { data: new Float32Array(6), shape: [NaN, 6] }],
];
for (const [what, x] of WRONG_ROWS) {
  test(`${what} for rows is an InputError`, options, async () => {
    const vae = await table();
    for (const method of ["score", "encode", "reconstruct"]) await assert.rejects(vae[method](x), InputError);
  });
}

test("views with an offset, tensors and shapes are read as what they show", options, async () => {
  const vae = await table();
  const wanted = (await vae.score(rows(3))).score;
  const buffer = new ArrayBuffer(4 * 18 + 8);
  const view = new Float32Array(buffer, 4, 18);
  view.set(rows(3));
  const ort = await engine("node");
  const shared = new Float32Array(new SharedArrayBuffer(72));
  shared.set(rows(3));
  for (const x of [view, shared, { data: view, shape: [3, 6] }, new ort.Tensor("float32", rows(3), [3, 6])]) {
    assert.deepEqual((await vae.score(x)).score, wanted);
  }
});

test("pixels of a canvas, which are clamped bytes, are bytes", options, async () => {
  const vae = await open(bundle("v1-picture.vaeb"), { ort: await engine("node") });
  const pixels = Uint8Array.from({ length: 12 * 12 * 3 }, (_, i) => i % 256);
  const [a, b] = [await vae.score(pixels), await vae.score(new Uint8ClampedArray(pixels))];
  assert.deepEqual(a.score, b.score);
  assert.ok((await vae.reconstruct(pixels)).data instanceof Uint8Array);
});

test("options that are none, or no valid value, are an OptionError", options, async () => {
  const vae = await table();
  const x = rows(1);
  for (const bad of [{ head: "x" }, { heads: "psychic" }, { heads: [1] }, { maps: 1 }, { threshold: NaN }, { threshold: "1" }, null, 3]) {
    await assert.rejects(vae.score(x, bad), OptionError);
  }
  for (const [n, bad] of [[-1, { seed: 1 }], [1.5, { seed: 1 }], ["1", { seed: 1 }], [2 ** 53, { seed: 1 }], [1, {}], [1, { seed: 1, temperature: -1 }], [1, { seed: 1, temperature: "warm" }]]) {
    await assert.rejects(vae.sample(n, bad), OptionError);
  }
  for (const rate of [0, 1, -1, 0.0001]) await assert.rejects(vae.thresholdFor(rate), CalibrationError);
  for (const rate of [NaN, "0.1", undefined]) await assert.rejects(vae.thresholdFor(rate), OptionError);
  await assert.rejects(vae.thresholdFor(0.1, { method: "guess" }), OptionError);
  await assert.rejects(vae.thresholdFor(0.1, { method: "tail" }), CalibrationError);
  await assert.rejects(table({ variant: "int4" }), OptionError);
  await assert.rejects(table({ variants: "fp32" }), OptionError);
  for (const ort of [undefined, {}, "onnxruntime-node"]) await assert.rejects(table({ ort }), OptionError);
  const sessions = [null, "cpu", [], { executionProviders: [] }, { executionProviders: [null] }, { executionProviders: "cpu" }];
  for (const session of sessions) await assert.rejects(table({ session }), OptionError);
  for (const n of [1e12, 2 ** 40]) await assert.rejects(vae.sample(n, { seed: 1 }), OptionError);
  for (const n of [-1, 1.5, NaN, "5", 1e12, undefined]) assert.throws(() => standardNormal(n, { seed: 1 }), OptionError);
  assert.deepEqual(await vae.runGraph("encode", { x }, []), []);
  await assert.rejects(vae.runGraph("constructor", { x }, []), OptionError);
  await assert.rejects(vae.readMember("none"), /there is no such member/);
});

test("a condition is taken for one row, for all rows, and refused where it is wrong", options, async () => {
  const ort = await engine("node");
  const label = await open(bundle("v1-label.vaeb"), { ort });
  const x = rows(2);
  const two = (await label.score(x, { condition: new BigInt64Array(2).fill(1n) })).score;
  assert.deepEqual((await label.score(x, { condition: 1 })).score, two);
  assert.deepEqual((await label.score(x, { condition: 1n })).score, two);
  for (const condition of [undefined, 99, -1, 1.5, "1", Float32Array.of(1), BigInt64Array.of(1n, 1n, 1n)]) {
    await assert.rejects(label.score(x, { condition }), InputError);
  }
  const vector = await open(bundle("v1-vector.vaeb"), { ort });
  const one = Float32Array.of(1, 2, 3, 4, 5);
  const both = await vector.score(x, { condition: Float32Array.of(...one, ...one) });
  assert.deepEqual((await vector.score(x, { condition: one })).score, both.score);
  await assert.rejects(vector.score(x, { condition: Float32Array.of(1, 2, NaN, 4, 5) }), /NaN/);
  await assert.rejects((await table()).score(x, { condition: 1 }), /takes no condition/);
});

test("the posterior of another model is refused by decode", options, async () => {
  const ort = await engine("node");
  const [a, b] = [await table(), await open(bundle("v1-bernoulli.vaeb"), { ort })];
  const posterior = await a.encode(rows(2));
  assert.deepEqual((await a.decode(posterior)).shape, [2, 6]);
  await assert.rejects(b.decode(posterior), PairMismatch);
  assert.deepEqual(posterior.sample({ seed: 3 }), posterior.sample({ seed: 3 }));
  for (const z of [Float32Array.of(NaN, 1), new Float32Array(3), [1, 2]]) await assert.rejects(a.decode(z), InputError);
  const codes = await open(bundle("v1-codes.vaeb"), { ort });
  await assert.rejects(codes.decode(new BigInt64Array(16).fill(-1n)), /codebook/);
  assert.equal((await codes.sample(2, { seed: 1 })).length, 2);
});

for (const kind of ["node", "wasm"]) {
  test(`${kind}: fifty calls at once on two sessions each get their own answer`, options, async () => {
    const ort = await engine(kind);
    const [a, b] = await Promise.all(["v1-gaussian.vaeb", "v1-laplace.vaeb"].map((name) => open(bundle(name), { ort })));
    const alone = [];
    for (let i = 0; i < 25; i++) alone.push((await a.score(rows(1).map((v) => v + i))).score[0]);
    const calls = Array.from({ length: 50 }, (_, i) => (i % 2 ? b : a).score(rows(1).map((v) => v + (i >> 1))));
    const together = await Promise.all(calls);
    alone.forEach((score, i) => assert.equal(together[2 * i].score[0], score));
    assert.notEqual(together[1].score[0], together[0].score[0]);
    const last = a.score(rows(64 * 3));
    await a.close(); // waits for the call that runs
    assert.equal((await last).length, 192);
    await assert.rejects(a.score(rows(1)), SessionClosed);
    await a.close();
    assert.equal((await b.score(rows(1))).length, 1);
  });
}

test("a closed session refuses every call", options, async () => {
  const vae = await table();
  await vae.close();
  const calls = [vae.score(rows(1)), vae.encode(rows(1)), vae.decode(rows(1)), vae.sample(1, { seed: 1 }), vae.readMember("x"), vae.thresholdFor(0.1)];
  for (const call of calls) await assert.rejects(call, SessionClosed);
});

test("a model without a prior scores, and says why it cannot be sampled", options, async () => {
  const vae = await open(bundle("v1-unsampled.vaeb"), { ort: await engine("node") });
  await assert.rejects(vae.sample(1, { seed: 1 }), /cannot be sampled/);
  assert.equal((await vae.score(rows(1), { threshold: 1e9 })).isAnomaly[0], false);
});

test("an engine that is too old, that refuses a graph, or whose provider is absent has its name", options, async () => {
  const ort = await engine("node");
  const old = { ...ort, env: { versions: { node: "1.2.0" } }, InferenceSession: ort.InferenceSession, Tensor: ort.Tensor };
  await assert.rejects(table({ ort: old }), ProviderUnavailable);
  const failing = (message) => ({ ...old, env: ort.env, InferenceSession: { create: async () => Promise.reject(new Error(message)) } });
  await assert.rejects((await table({ ort: failing("no available backend found. ERR: ...") })).score(rows(1)), ProviderUnavailable);
  await assert.rejects((await table({ ort: failing("Protobuf parsing failed") })).score(rows(1)), BackendError);
});

test("a row with a code outside its range gets a status of its own, and the rows beside it their scores", options, async () => {
  const coded = await withManifest(bundle("v1-gaussian.vaeb"), (m) => (m.input.codes = [{ column: 2, low: 1, high: 4 }]));
  const vae = await open(coded, { ort: await engine("node") });
  const x = Float32Array.from({ length: 4 * 6 }, (_, i) => (i % 6 === 2 ? 2 : 0.5));
  const good = await vae.score(x);
  x[1 * 6 + 2] = 9;
  x[2 * 6 + 2] = 0.5;
  x[3 * 6 + 2] = NaN;
  const scores = await vae.score(x);
  assert.deepEqual([...scores.status], [Status.OK, Status.UNKNOWN_CODE, Status.UNKNOWN_CODE, Status.NON_FINITE_INPUT]);
  assert.equal(scores.score[0], good.score[0]);
  assert.deepEqual(scores.toRows().map(({ status }) => status), ["ok", "unknown_code", "unknown_code", "non_finite_input"]);
});

test("the head that decides comes first, with its own threshold", options, async () => {
  const ort = await engine("node");
  const plain = await open(bundle("v1-table.vaeb"), { ort });
  const decided = await open(await withManifest(bundle("v1-table.vaeb"), (m) => (m.score.decides_by = "fisher")), { ort });
  assert.deepEqual(decided.heads, ["fisher", ...plain.heads.filter((head) => head !== "fisher")]);
  const [a, b] = [await plain.score(rows(3), { heads: "all" }), await decided.score(rows(3), { heads: ["elbo"] })];
  assert.deepEqual([b.score, b.threshold, b.head], [a.heads.fisher.score, a.heads.fisher.threshold, "fisher"]);
  assert.deepEqual(b.heads.elbo.score, a.score);
  assert.deepEqual(Object.keys(b.heads), ["fisher", "elbo"]);
  const own = await decided.score(rows(3), { threshold: -1 });
  assert.deepEqual(own.isAnomaly, [true, true, true]);
  assert.equal(await decided.thresholdFor(0.1), await plain.thresholdFor(0.1, { head: "fisher" }));
});

test("a stream decides row by row, names faults, and needs a source, rules and no condition", options, async () => {
  const vae = await table();
  const all = async (source, given) => {
    const events = [];
    for await (const event of vae.stream(source, given)) events.push(event);
    return events;
  };
  const x = rows(5);
  const { score } = await vae.score(x);
  const bad = x.slice();
  bad[2 * 6] = NaN;
  const whole = await all([bad]);
  const one = await all(Array.from({ length: 5 }, (_, i) => ({ row: bad.subarray(i * 6, i * 6 + 6) })));
  assert.deepEqual(one.map(({ score, ...rest }) => rest), whole.map(({ score, ...rest }) => rest));
  assert.deepEqual(whole.map(({ status }) => status), ["ok", "ok", "invalid_input", "ok", "ok"]);
  assert.deepEqual([whole[2].faults, whole[2].faultFeatures, whole[2].score], [["non_finite"], ["0"], null]);
  assert.ok(Math.abs(whole[4].score - score[4]) <= 1e-5 * Math.abs(score[4]));
  for (const source of [null, 5, {}]) await assert.rejects(all(source), InputError);
  for (const item of [null, 5, new Float64Array(6), new Float32Array(5), { row: x.subarray(0, 6), time: "noon" }]) {
    await assert.rejects(all([item]), InputError);
  }
  for (const given of [{ stride: 2 }, { stride: 0 }, { rate: 1 }]) await assert.rejects(all([x], given), OptionError);
  const label = await open(bundle("v1-label.vaeb"), { ort: await engine("node") });
  await assert.rejects(label.stream([x]).next(), OptionError);
  const windows = await open(bundle("v1-window.vaeb"), { ort: await engine("node") });
  const steps = Float32Array.from({ length: 50 * 5 }, (_, i) => 5 + Math.sin(i));
  const counts = async (stride) => {
    let n = 0;
    for await (const { index } of windows.stream([steps.subarray(0, 35), steps.subarray(35)], { stride })) n += index >= 19;
    return n;
  };
  assert.deepEqual([await counts(20), await counts(1), await counts(30)], [2, 31, 2]);
});

test("bytes that the caller changes, or hands to another thread, are noticed, and no session reads past them", options, async () => {
  const ort = await engine("node");
  const changed = bundle("v1-gaussian.vaeb");
  const a = await open(changed, { ort });
  changed.fill(0, 5000);
  await assert.rejects(a.score(rows(1)), BundleCorrupt);
  const moved = bundle("v1-gaussian.vaeb");
  const b = await open(moved, { ort });
  structuredClone(moved, { transfer: [moved.buffer] });
  await assert.rejects(b.score(rows(1)), /transferred to another thread/);
  const x = rows(1);
  const vae = await table();
  const call = vae.score(x);
  x.fill(NaN); // rows were copied when the call was made
  assert.deepEqual([...(await call).status], [Status.OK]);
});

test("a bundle of free height and width is refused by name", async () => {
  const check = { height: 8, width: 8, rows: 1, input: "golden/input.bin", parity: {}, expected: {}, tolerance_relative: {} };
  const free_size = { multiple: [4, 4], smallest: [4, 4], checks: [check] };
  const free = await withManifest(bundle("v1-picture.vaeb"), (m) => Object.assign(m, { free_size }));
  await assert.rejects(open(free, { ort: {} }), /rows of any height and width.*--dynamic-size/);
});

test("a bundle of tiles is not scored tile by tile against the threshold of pictures", options, async () => {
  const tiled = await withManifest(bundle("v1-picture.vaeb"), (m) => (m.input.overlap = 2));
  const vae = await open(tiled, { ort: await engine("node") });
  await assert.rejects(vae.score(new Uint8Array(12 * 12 * 3)), /rows of this bundle are tiles/);
  assert.equal((await vae.reconstruct(new Uint8Array(12 * 12 * 3))).length, 1);
});

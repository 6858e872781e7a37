// A session in a worker gives what one in this thread gives, errors included.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { BundleCorrupt, InputError, open, OptionError, PairMismatch, SessionClosed } from "../../runtime/js/src/index.js";
import { connect } from "../../runtime/js/src/worker.js";
import { bundle, engine, noEngine } from "./support.js";

const options = { skip: noEngine };
const start = () => new Worker(new URL("serving.js", import.meta.url));
const x = Float32Array.from({ length: 12 }, (_, i) => Math.cos(i));

test("scores, posteriors, rows and thresholds come out of a worker as out of a session", options, async () => {
  const here = await open(bundle("v1-gaussian.vaeb"), { ort: await engine("node") });
  const there = await connect(start(), bundle("v1-gaussian.vaeb"), { variant: "fp32" });
  try {
    assert.deepEqual(there.heads, [...here.heads]);
    assert.equal(there.info.bundleId, here.info.bundleId);
    assert.equal(there.manifest.pair_id, here.manifest.pair_id);
    const [a, b] = [await here.score(x, { maps: true }), await there.score(x, { maps: true })];
    assert.deepEqual([b.score, b.isAnomaly, b.pValue, b.status, b.map.data], [a.score, a.isAnomaly, a.pValue, a.status, a.map.data]);
    assert.equal((await there.score(x)).map, undefined);
    const posterior = await there.encode(x);
    assert.deepEqual(posterior.mean.data, (await here.encode(x)).mean.data);
    assert.deepEqual((await there.decode(posterior)).data, (await here.reconstruct(x)).data);
    assert.deepEqual((await there.sample(3, { seed: 7n })).data, (await here.sample(3, { seed: 7 })).data);
    assert.equal(await there.thresholdFor(0.1), await here.thresholdFor(0.1));
    const { ok, checks } = await there.verify();
    assert.ok(ok && checks.length === 7 && checks.every((check) => check.passed));
    const together = await Promise.all(Array.from({ length: 20 }, () => there.score(x)));
    assert.ok(together.every(({ score }) => score[0] === a.score[0]));
  } finally {
    await there.close();
  }
  await assert.rejects(there.score(x), SessionClosed);
  await there.close();
});

test("errors of a worker have the same class, text and data", options, async () => {
  await assert.rejects(connect(start(), bundle("v1-gaussian.vaeb").slice(0, -1)), (error) => {
    assert.ok(error instanceof BundleCorrupt);
    assert.match(error.message, /cut short/);
    return true;
  });
  const there = await connect(start(), bundle("v1-gaussian.vaeb"));
  try {
    await assert.rejects(there.score(new Float64Array(6)), InputError);
    await assert.rejects(there.score(x, { head: "elbo" }), OptionError);
    await assert.rejects(there.score(x, { heads: () => 1 }), OptionError);
    await assert.rejects(there.thresholdFor(1e-6), (error) => error.name === "CalibrationError" && error.needed > 100);
    const posterior = { ...(await there.encode(x)), pairId: "0".repeat(32) };
    await assert.rejects(there.decode(posterior), PairMismatch);
  } finally {
    await there.close();
  }
});

test("a worker whose script does not load is an error, and not silence", options, async () => {
  const broken = new Worker("throw new Error('no such engine')", { eval: true });
  await assert.rejects(connect(broken, bundle("v1-gaussian.vaeb")), /the worker failed: no such engine/);
});

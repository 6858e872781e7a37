// Compiled by test_node.py and never run: lines that the types must take, and lines that they must refuse.

import { Bundle, BundleCorrupt, open, Posterior, Scores, standardNormal, verify, type OrtModule } from "../../runtime/js/index.js";
import { connect, serve } from "../../runtime/js/worker.js";

declare const ort: OrtModule;
declare const bytes: Uint8Array;

export async function used(): Promise<number | null> {
  const vae = await open(bytes, { ort, variant: "fp32", session: { executionProviders: ["webgpu"] } });
  const scores: Scores = await vae.score(new Float32Array(6), { heads: "all", maps: true, threshold: 3 });
  const map: Float32Array = scores.map.row(0);
  const posterior: Posterior = await vae.encode({ data: new Uint8Array(4), shape: [1, 4] });
  await vae.decode(posterior, { condition: 3 });
  await vae.sample(2, { seed: 7n, temperature: 0.5 });
  const rate: number = await vae.thresholdFor(0.01, { head: "elbo", method: "tail" });
  const { ok } = await verify("pump.vaeb", { ort });
  const id: string = (await Bundle.open(new Blob([]))).bundleId;
  const there = await connect({}, bytes, { variant: "int8" });
  const remote: Float32Array = (await there.score(new Float32Array(6))).score;
  serve(ort);
  const error = new BundleCorrupt("x");
  standardNormal(3, { seed: 1 });

  // @ts-expect-error the engine is needed
  await open(bytes, {});
  // @ts-expect-error there is no such option
  await vae.score(new Float32Array(6), { head: "elbo" });
  // @ts-expect-error a list is no typed array
  await vae.score([1, 2, 3]);
  // @ts-expect-error the seed is needed
  await vae.sample(2, {});
  // @ts-expect-error there is no such method
  await vae.thresholdFor(0.01, { method: "guess" });
  return ok ? scores.threshold : rate + map.length + id.length + remote.length + error.problem.length;
}

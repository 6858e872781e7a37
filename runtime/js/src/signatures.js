// Inputs and outputs of the graphs of a model.

import { HEADS } from "./tables.js";

/** Names of the heads of `spec` that are computed in one of these places. */
export function computedIn(spec, ...places) {
  return spec.heads.filter((head) => places.includes(HEADS[head].computed));
}

/** Inputs and outputs of the graphs of a model. The first output of `encode` is what `decode` takes first. */
export function signatures({ input, condition, latent, output, score }) {
  const f32 = (name, shape = []) => ({ name, dtype: "float32", shape });
  const x = { name: "x", dtype: input.dtype, shape: input.shape };
  const beside = condition ? [{ name: "condition", dtype: condition.dtype, shape: condition.shape }] : [];
  let encoded = [f32("mean", latent.shape)];
  let z = f32("z", latent.shape);
  if (latent.kind === "codes") {
    z = { name: "indices", dtype: "int64", shape: latent.shape };
    encoded = [z, f32("z_q", latent.embedding_shape)];
  } else if (latent.kind === "gaussian") {
    encoded.push(f32("logvar", latent.shape));
  }
  const fused = score.heads.slice(1).filter((head) => HEADS[head].computed === "score" && !HEADS[head].is_term);
  const parts = ["score", "reconstruction", ...(score.kl_weight === null ? [] : ["kl"]), ...fused];
  const code = score.heads.some((head) => HEADS[head].reads_codes) ? [f32("mean", latent.shape)] : [];
  const sampled = computedIn(score, "sampled");
  const signed = {
    encode: { inputs: [x, ...beside], outputs: encoded },
    decode: { inputs: [z, ...beside], outputs: [output] },
    score: { inputs: [x, ...beside], outputs: [...parts.map((name) => f32(name)), f32("map", input.shape), ...code] },
  };
  if (sampled.length) {
    const noise = f32("noise", [score.draws, ...latent.shape]);
    signed.sampled = { inputs: [x, ...beside, noise], outputs: sampled.map((name) => f32(name)) };
  }
  return signed;
}

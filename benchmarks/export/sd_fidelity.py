"""The decoder of a large bundle in float16 at several sizes, and the memory it needs.

    python benchmarks/export/sd_fidelity.py sd.vaeb

float16 is measured on the twin of the graph in which every result really is rounded to it, as an export does. The plan
of what stays float32 is made at the first size and held at the others.
"""

from __future__ import annotations

import argparse
import gc
import time

import numpy as np
import onnx
from numpy.typing import NDArray

from vae_edge_export.precision import half
from vae_edge_export.precision.activations import largest_values, run, session_of
from vae_edge_export.precision.layers import find_networks, named_uniquely
from vae_edge_runtime import load
from vae_edge_runtime.format.bundle import Bundle
from vae_edge_runtime.sampling.noise import standard_normal


def main() -> None:
    """Print a line per size, and the layers that stay float32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--sizes", default="64x64,96x128,128x128")
    parser.add_argument("--memory", default="256x256,512x512,768x768,1024x1024")
    parser.add_argument("--weights", help="of sd_size.py: compare tiles with those of diffusers")
    given = parser.parse_args()
    with Bundle.open(given.bundle) as bundle:
        variant = next(iter(bundle.manifest.variants))
        for text in given.memory.split(","):
            height, width = map(int, text.split("x"))
            needed = {g: bundle.row_bytes_at(variant, g, (height, width)) / 2**30 for g in ("encode", "decode")}
            print(
                f"{text}: " + ", ".join(f"{graph} {gib:.2f} GiB of values" for graph, gib in needed.items()), flush=True
            )
        models = {g: named_uniquely(onnx.load_from_string(bundle.graph(variant, g))) for g in ("encode", "decode")}
        channels, ratio = (
            bundle.manifest.latent.shape[0],
            bundle.manifest.input.shape[0] // bundle.manifest.latent.shape[1],
        )
    nodes = find_networks(models)["decode"].halvable("encoder", "decoder")
    model = models.pop("decode")
    sizes = [tuple(map(int, text.split("x"))) for text in given.sizes.split(",")]
    feeds = [
        {"z": standard_normal(channels * h * w // ratio**2, seed=3).reshape(1, channels, h // ratio, w // ratio)}
        for h, w in sizes
    ]
    plan = half.plan(model, nodes, largest_values(model, feeds[:1]))
    exact, rounded = session_of(model), session_of(half.rounded(model, plan))
    kinds = ("Conv", "ConvTranspose", "MatMul", "Gemm")
    layers = sum(node.op_type in kinds and node.name in plan.nodes for node in model.graph.node)
    print(f"{layers} layers in float16; kept in float32 for their values:")
    for name, why in plan.kept.items():
        if "stays float32 wherever" not in why:
            print(f"  {name}: {why}")
    for (height, width), feed in zip(sizes, feeds, strict=True):
        start = time.process_time()
        wanted = run(exact, ["x_hat"], feed)["x_hat"]
        plain = time.process_time() - start
        found = run(rounded, ["x_hat"], feed)["x_hat"]
        error = np.abs(found - wanted)
        psnr = 20 * np.log10(255 / np.sqrt(np.square(error).mean()))
        said = f"PSNR {psnr:.1f} dB, largest error {error.max():.3g} of 255; fp32 took {plain:.1f} s of CPU"
        print(f"{height}x{width}: {said}", flush=True)
    del exact, rounded, model
    gc.collect()
    with load(given.bundle, device="cpu") as vae:
        z = standard_normal(channels * 20 * 24, seed=4).reshape(1, channels, 20, 24)
        whole, tiled = vae.decode(z), vae.decode(z, tile=64)
        print(
            f"160x192 in tiles of 64: differs from the whole by {np.abs(whole - tiled).mean():.3g} of 255 in the mean"
        )
    if given.weights:
        wanted = by_diffusers(given.weights, z)
        print(f"  and from diffusers' own tiled decode by {np.abs(wanted - tiled).max():.3g} of 255 at most")


def by_diffusers(weights: str, z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Latents decoded in tiles of 64 pixels by diffusers, as rows of 0 to 255."""
    from pathlib import Path

    import sd_size
    import torch

    model = sd_size.model(Path(weights))
    model.enable_tiling()
    model.tile_sample_min_size, model.tile_latent_min_size = 64, 8
    with torch.no_grad():
        rows = model.decode(torch.from_numpy(z) / model.config.scaling_factor).sample
    made: NDArray[np.float32] = rows.permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    return made


if __name__ == "__main__":
    main()

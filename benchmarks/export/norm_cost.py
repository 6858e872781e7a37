"""A large group norm in one step and in two: processor time side by side, and the error beside float64.

    python benchmarks/export/norm_cost.py
    python benchmarks/export/norm_cost.py --bundles before.vaeb after.vaeb --sides 256

With two bundles of one model ``decode`` is compared, whose norms are some of its work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from vae_edge.bench.measure import Pace, interleaved, ratio
from vae_edge_export.passes import clean_up, finish_fp32
from vae_edge_export.tracing.trace import quiet
from vae_edge_runtime import load
from vae_edge_runtime.sampling.noise import standard_normal

CHANNELS, GROUPS = 128, 32


def norm() -> tuple[nn.Module, onnx.ModelProto]:
    """A group norm with weights, and its graph of free height and width as it is traced."""
    torch.manual_seed(0)
    module = nn.GroupNorm(GROUPS, CHANNELS, eps=1e-6).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    axes = {0: torch.export.Dim("n", min=1), 2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    with quiet():
        program: Any = torch.onnx.export(
            module, (torch.randn(3, CHANNELS, 24, 16),), input_names=["x"], output_names=["y"], dynamo=True,
            optimize=False, verbose=False, dynamic_shapes=(axes,), opset_version=18,
        )  # fmt: skip
    return module, clean_up(program.model_proto, graph="g")


def session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compared(calls: list[Callable[[], object]], rounds: int) -> str:
    """Median processor time of both calls, and the ratio of the second to the first."""
    times = interleaved(calls, Pace(rounds=rounds, calls_per_turn=2), clock=time.process_time, sleep=time.sleep)
    before, after = (1e3 * float(np.median(each)) for each in times)
    both = ratio(times[1], times[0])
    between = "" if both.low is None else f" ({both.low:.2f} to {both.high:.2f})"
    return f"{before:.1f} ms before, {after:.1f} ms after: {both.median:.2f} times{between}"


def main() -> None:
    """Print a line per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bundles", nargs=2, metavar=("BEFORE", "AFTER"))
    given = parser.parse_args()
    if given.bundles:
        with ExitStack() as stack:
            both = [stack.enter_context(load(path, device="cpu", threads=given.threads)) for path in given.bundles]
            for side in given.sides:
                channels, across = both[0].manifest.latent.shape[0], side // 8
                z = standard_normal(channels * across**2, seed=3).reshape(1, channels, across, across)
                difference = np.abs(both[0].decode(z) - both[1].decode(z)).max()
                line = compared([lambda vae=vae, z=z: vae.decode(z) for vae in both], given.rounds)
                print(f"decode, {side} x {side}: {line}; they differ by {difference:.2g}", flush=True)
        return
    module, traced = norm()
    sessions = [session(traced, given.threads), session(finish_fp32(traced, graph="g"), given.threads)]
    exact = module.double()
    for side in given.sides:
        x = np.random.default_rng(0).normal(size=(1, CHANNELS, side, side)).astype(np.float32)
        with torch.no_grad():
            wanted = exact(torch.from_numpy(x).double()).numpy()
        errors = [float(np.abs(each.run(None, {"x": x})[0] - wanted).max()) for each in sessions]
        line = compared([lambda each=each, x=x: each.run(None, {"x": x}) for each in sessions], given.rounds)
        print(f"norm, {side} x {side}: {line}; errors {errors[0]:.1e} and {errors[1]:.1e}", flush=True)


if __name__ == "__main__":
    main()

"""A fresh process up to its first score: one way to run a model, its time and its peak memory to stdout."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def main(who: str, subject_name: str, folder: str) -> None:
    """Import, load, score one row. Files are those that ``cells.py`` left in ``folder``."""
    path = Path(folder)
    ways = {"imports": imports, "split sessions": split, "OpenVINO": openvino, "PyTorch": pytorch}
    ways.get(who, ours)(who, subject_name, path)
    # Not ru_maxrss: that of a child starts with its parent's.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    sys.stdout.write(json.dumps({"peak_mb": int(peak[1]) * 1024 / 1e6 if peak else 0.0}) + "\n")
    sys.stdout.flush()


def imports(who: str, subject: str, path: Path) -> None:
    """The floor: numpy and onnxruntime, and one bare inference of the graph that we run."""
    import numpy as np
    import onnxruntime

    row = np.load(path / f"{subject}-row.npy")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    onnxruntime.InferenceSession(
        (path / f"{subject}-score.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    ).run(["score"], {"x": row})


def ours(who: str, subject: str, path: Path) -> None:
    """The runtime."""
    import numpy as np

    from vae_edge_runtime import load

    row = np.load(path / f"{subject}-row.npy")
    load(path / f"{subject}.vaeb", device="cpu", variant=who.split()[1], threads=2).score(row)


def split(who: str, subject: str, path: Path) -> None:
    """Two sessions of ONNX Runtime."""
    import numpy as np
    import onnxruntime

    row = np.load(path / f"{subject}-row.npy")
    x = row.astype(np.float32) if row.dtype == np.float32 else row.transpose(0, 3, 1, 2).astype(np.float32) / 255
    encoder, decoder = (
        onnxruntime.InferenceSession(str(path / f"{subject}-{part}.onnx"), providers=["CPUExecutionProvider"])
        for part in ("encoder", "decoder")
    )
    mean, logvar = encoder.run(None, {encoder.get_inputs()[0].name: x})
    rebuilt = decoder.run(None, {decoder.get_inputs()[0].name: mean})[0]
    float(((rebuilt - x) ** 2).sum() + 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum())


def openvino(who: str, subject: str, path: Path) -> None:
    """OpenVINO on PyTorch's export of the whole score."""
    import numpy as np
    import openvino as ov

    core = ov.Core()
    model = core.compile_model(path / f"{subject}-whole-score.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    model.create_infer_request().infer([np.load(path / f"{subject}-row.npy")])


def pytorch(who: str, subject: str, path: Path) -> None:
    """PyTorch, eager."""
    sys.path.insert(0, str(Path(__file__).parent))
    import numpy as np
    import torch
    from plain_models import MODELS

    torch.set_num_threads(2)
    model = MODELS[subject]()
    model.load_state_dict(torch.load(path / f"{subject}.pt", weights_only=True))
    row = np.load(path / f"{subject}-row.npy")
    with torch.inference_mode():
        x = torch.from_numpy(row).float() if row.ndim == 3 else torch.from_numpy(row).permute(0, 3, 1, 2).float() / 255
        mean, logvar = model.eval().encode(x)
        float((model.decode(mean) - x).square().sum() + (mean.square() + logvar.exp() - 1 - logvar).sum())


if __name__ == "__main__":
    main(*sys.argv[1:])

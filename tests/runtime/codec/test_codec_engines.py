"""Rows go from ONNX Runtime to OpenVINO and back within their bound; a decoder of fewer bits is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from codec_bundles import CORPUS, window_bundle, windows
from cpus import need_bfloat16

from vae_edge_runtime import DecoderMismatch, load, recalibrate

pytest.importorskip("openvino")
X = windows(40, 17)


@pytest.mark.parametrize(("sender", "receiver"), [("cpu", "openvino"), ("openvino", "cpu")])
def test_rows_stay_within_their_bound_between_engines(sender: str, receiver: str) -> None:
    with load(window_bundle(), device=sender, threads=1) as there, load(window_bundle(), device=receiver) as here:
        section = here.manifest.compression
        assert section is not None
        for name in ("0.3", "0.05"):
            mode = section.mode(name)
            assert mode is not None
            back = here.decompress(there.compress(X, bound=name))
            assert (np.abs(back.rows.astype(np.float64) - X) <= np.array(mode.bound)).all()
            assert set(back.kind.tolist()) == {"bounded"}
        np.testing.assert_array_equal(here.decompress(there.compress(X, exact=True)).rows, X)
        here.decompress(there.compress(X, latents=True))


def test_a_decoder_in_bfloat16_is_refused_by_name() -> None:
    need_bfloat16()
    with load(window_bundle(), device="cpu", threads=1) as vae:
        data = vae.compress(X, latents=True)
    with load(window_bundle(), device="openvino-bf16") as vae, pytest.raises(DecoderMismatch, match="openvino-bf16"):
        vae.decompress(data)


def test_a_reduced_variant_compresses_and_does_not_decompress(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path, rows = tmp_path / "half.vaeb", np.random.default_rng(1).normal(size=(120, 6)).astype(np.float32)
    recalibrate(CORPUS / "v1-half.vaeb", path, rows=rows, compress="0.1", false_positive_rate=0.1)
    with load(path, device="cpu", variant="fp16") as reduced, load(path, device="cpu", variant="fp32") as whole:
        for how in ({"latents": True}, {"bound": "0.1"}):
            data = reduced.compress(rows, **how)  # type: ignore[arg-type]
            assert len(whole.decompress(data)) == 120
        with pytest.raises(DecoderMismatch, match="variant fp16"):
            reduced.decompress(reduced.compress(rows, latents=True))

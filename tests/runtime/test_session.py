from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_bundle import DECODE_WEIGHTS, FEATURES, LATENT, WEIGHTS, TinyBundle, forward

from vae_edge_runtime import (
    VAE,
    BackendError,
    BundleCorrupt,
    CalibrationError,
    InputError,
    OptionError,
    PairMismatch,
    ProviderUnavailable,
    SessionClosed,
    Status,
    load,
    standard_normal,
)
from vae_edge_runtime.device.devices import device_names, takes

ROWS = np.random.default_rng(0).normal(size=(150, FEATURES)).astype(np.float32)


@pytest.fixture
def vae(tiny_path: Path) -> Iterator[VAE]:
    with load(tiny_path, device="cpu", threads=1) as opened:
        yield opened


def test_score_is_the_models_formula(vae: VAE) -> None:
    found = vae.score(ROWS, maps=True)
    expected = forward(ROWS.astype(np.float64))
    for name in ("score", "reconstruction", "kl", "map"):
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=2e-5, atol=1e-5)
    assert found.score.dtype == np.float32
    assert len(found) == 150


def test_encode_decode_reconstruct_are_the_models(vae: VAE) -> None:
    expected = forward(ROWS.astype(np.float64))
    posterior = vae.encode(ROWS)
    np.testing.assert_allclose(posterior.mean, expected["mean"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(posterior.std, np.exp(expected["logvar"] / 2), rtol=1e-5)
    np.testing.assert_allclose(vae.decode(posterior.mean), expected["x_hat"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(vae.reconstruct(ROWS), vae.decode(posterior.mean))


@pytest.mark.parametrize("stranger", ["0" * 32, None])
def test_a_graph_of_another_export_is_refused(tiny: TinyBundle, stranger: str | None) -> None:
    graph = onnx.load_from_string(tiny.members["fp32/decode.onnx"])
    del graph.metadata_props[:]
    if stranger:
        graph.metadata_props.add(key="vae_edge.pair_id", value=stranger)
    plain = tiny.replace_member("fp32/decode.onnx", graph.SerializeToString())
    with load(tiny.write(plain), device="cpu") as vae:
        assert np.isfinite(vae.encode(ROWS).mean).all()
        with pytest.raises(PairMismatch, match=f"belongs to model {stranger}"):
            vae.sample(1, seed=0)


def test_a_posterior_of_another_model_is_refused(vae: VAE) -> None:
    posterior = vae.encode(ROWS)
    np.testing.assert_array_equal(vae.decode(posterior), vae.decode(posterior.mean))
    foreign = dataclasses.replace(posterior, pair_id="0" * 32)
    with pytest.raises(PairMismatch, match="0" * 32):
        vae.decode(foreign)


def test_a_bad_row_gets_a_status_and_changes_nothing_beside_it(vae: VAE) -> None:
    clean = vae.score(ROWS, maps=True)
    dirty = ROWS.copy()
    dirty[[3, 70]] = np.nan
    dirty[5, 0] = np.inf
    found = vae.score(dirty, maps=True)
    bad = np.zeros(150, bool)
    bad[[3, 5, 70]] = True
    assert found.status[bad].tolist() == [Status.NON_FINITE_INPUT] * 3
    assert not found.is_anomaly[bad].any()
    for name in ("score", "reconstruction", "kl", "p_value", "map"):
        assert np.isnan(getattr(found, name)[bad]).all()
        np.testing.assert_array_equal(getattr(found, name)[~bad], getattr(clean, name)[~bad])


def test_a_row_the_model_overflows_on_gets_a_status(vae: VAE) -> None:
    x = ROWS[:3].copy()
    x[1] = 1e30
    found = vae.score(x)
    assert found.status.tolist() == [Status.OK, Status.NON_FINITE_OUTPUT, Status.OK]
    assert np.isnan(found.score[1])
    assert found.ok.tolist() == [True, False, True]


def test_rows_one_by_one_equal_rows_together(vae: VAE) -> None:
    together = vae.score(ROWS)
    alone = [vae.score(row[None]) for row in ROWS]
    np.testing.assert_allclose([s.score[0] for s in alone], together.score, rtol=1e-6)
    assert [bool(s.is_anomaly[0]) for s in alone] == together.is_anomaly.tolist()


def test_no_rows_give_no_scores(vae: VAE) -> None:
    found = vae.score(ROWS[:0], maps=True)
    assert (found.score.shape, found.map.shape, found.is_anomaly.shape) == ((0,), (0, FEATURES), (0,))
    assert vae.decode(np.zeros((0, LATENT), np.float32)).shape == (0, FEATURES)
    assert vae.sample(0, seed=1).shape == (0, FEATURES)


def test_no_rows_never_reach_an_engine(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae._backend, "run", lambda *_: pytest.fail("an empty batch ends some engines with a signal"))
    vae.score(ROWS[:0], heads="all")
    vae.encode(ROWS[:0])
    for graph, spec in vae.manifest.variants["fp32"].graphs.items():
        feeds = {t.name: np.zeros((0, *t.shape), t.dtype) for t in spec.inputs}
        outputs = vae.run_graph(graph, feeds, [t.name for t in spec.outputs])
        assert [len(array) for array in outputs] == [0] * len(spec.outputs)


def test_threshold_can_be_overridden_per_call_and_the_score_stays_raw(vae: VAE) -> None:
    calibrated = vae.score(ROWS)
    middle = float(np.median(calibrated.score))
    moved = vae.score(ROWS, threshold=middle)
    np.testing.assert_array_equal(moved.score, calibrated.score)
    assert moved.threshold == middle
    assert int(moved.is_anomaly.sum()) == int((calibrated.score > middle).sum()) > 0
    calibration = vae.manifest.variants["fp32"].calibration
    assert calibration
    assert calibrated.threshold == calibration.threshold
    assert vae.threshold_for(0.1) <= calibrated.threshold


def test_p_values_are_ranks_among_the_calibration_scores(vae: VAE) -> None:
    found = vae.score(ROWS)
    assert found.p_value.min() >= 1 / 21
    assert found.p_value.max() <= 1.0
    order = np.argsort(found.score)
    assert (np.diff(found.p_value[order]) <= 0).all()


def test_a_bundle_without_calibration_scores_but_does_not_decide(tiny: TinyBundle) -> None:
    plain = tiny.plain
    del plain["members"]["fp32/calibration.bin"], tiny.members["fp32/calibration.bin"]
    plain["variants"]["fp32"]["calibration"] = None
    with load(tiny.write(plain), device="cpu") as vae:
        found = vae.score(ROWS)
        assert np.isfinite(found.score).all()
        with pytest.raises(CalibrationError, match="threshold="):
            _ = found.is_anomaly
        with pytest.raises(CalibrationError, match="no p-values"):
            _ = found.p_value
        with pytest.raises(CalibrationError, match="threshold="):
            vae.threshold_for(0.1)
        assert vae.score(ROWS, threshold=-1e9).is_anomaly.all()


def test_maps_must_be_asked_for(vae: VAE) -> None:
    with pytest.raises(OptionError, match="maps=True"):
        _ = vae.score(ROWS[:1]).map


def test_samples_are_the_decoded_noise_of_the_specification(vae: VAE) -> None:
    noise = standard_normal(5 * LATENT, seed=11).reshape(5, LATENT)
    np.testing.assert_array_equal(vae.sample(5, seed=11), vae.decode(noise))
    np.testing.assert_array_equal(vae.sample(5, seed=11, temperature=0.5), vae.decode(np.float32(0.5) * noise))
    np.testing.assert_allclose(vae.sample(2, seed=11), vae.sample(5, seed=11)[:2], rtol=1e-6)


def test_interpolation_starts_and_ends_at_the_reconstructions(vae: VAE) -> None:
    path = vae.interpolate(ROWS[0], ROWS[1], steps=5)
    np.testing.assert_allclose(path[[0, -1]], vae.reconstruct(ROWS[:2]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(path[2], path[[0, -1]].mean(0), rtol=1e-4, atol=1e-5)  # a linear decoder


@pytest.mark.parametrize(
    "call",
    [
        lambda v: v.sample(-1, seed=1),
        lambda v: v.sample(2, seed=1, temperature=-1),
        lambda v: v.sample(2, seed=1, temperature=float("nan")),
        lambda v: v.sample(2.5, seed=1),
        lambda v: v.score(ROWS, threshold=float("nan")),
        lambda v: v.interpolate(ROWS[0], ROWS[1], steps=1),
        lambda v: v.run_graph("paint", {}, []),
        lambda v: v.run_graph("encode", {"x": ROWS}, ["z"]),
    ],
)
def test_options_out_of_range_are_refused(vae: VAE, call: object) -> None:
    with pytest.raises(OptionError):
        call(vae)  # type: ignore[operator]


@pytest.mark.parametrize(
    "call",
    [
        lambda v: v.decode(np.full((1, LATENT), np.nan, np.float32)),
        lambda v: v.decode(np.zeros((1, LATENT + 1), np.float32)),
        lambda v: v.reconstruct(np.full((1, FEATURES), np.inf, np.float32)),
        lambda v: v.interpolate(ROWS[0], np.full(FEATURES, np.nan, np.float32)),
        lambda v: v.interpolate(ROWS[0], [1.0] * FEATURES),
        lambda v: v.run_graph("encode", {"z": ROWS}, ["mean"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused(vae: VAE, call: object) -> None:
    with pytest.raises(InputError):
        call(vae)  # type: ignore[operator]


def test_info_says_what_runs(vae: VAE) -> None:
    info = vae.info
    assert (info.backend, info.provider, info.device) == ("onnxruntime", "CPUExecutionProvider", "cpu")
    assert (info.variant, info.degraded, info.threads) == ("fp32", False, 1)
    assert "CPUExecutionProvider" in repr(vae)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_there_is_an_error_or_a_visible_fallback(tiny_path: Path, device: str) -> None:
    import onnxruntime

    if len(onnxruntime.get_available_providers()) > 2:
        pytest.skip("this onnxruntime has GPU providers")
    with pytest.raises(ProviderUnavailable, match=rf"'{device}' is not in this onnxruntime.*device=\"cpu\""):
        load(tiny_path, device=device)
    with load(tiny_path, device=device, allow_fallback=True) as vae:
        assert vae.info.degraded
        assert device in str(vae.info.degraded_reason)
        assert "DEGRADED" in str(vae.info)
        assert np.isfinite(vae.score(ROWS).score).all()


def test_auto_takes_the_cpu_where_there_is_no_gpu_engine(tiny_path: Path) -> None:
    with load(tiny_path) as vae:
        assert (vae.info.device, vae.info.degraded) == ("cpu", False)


@pytest.mark.parametrize(("spin", "entry"), [(True, "1"), (False, "0")])
def test_the_engine_is_told_whether_to_spin(tiny_path: Path, spin: bool, entry: str) -> None:
    with load(tiny_path, device="cpu", threads=2, spin=spin) as vae, load(tiny_path, device="cpu") as other:
        np.testing.assert_array_equal(vae.score(ROWS).score, other.score(ROWS).score)
        options = vae._backend._session("score").get_session_options()  # type: ignore[attr-defined]
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == entry
        assert (vae.info.spin, vae.info.threads, other.info.spin) == (spin, 2, None)


@pytest.mark.parametrize(
    "option",
    [
        {"device": "gpu"},
        {"variant": "fp61"},
        {"threads": 0},
        {"threads": True},
        {"spin": 1},
        {"spin": False, "device": "openvino"},
        {"spin": True, "device": "tensorrt"},
    ],
)
def test_unknown_options_list_the_valid_ones(tiny_path: Path, option: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=r"valid are|has fp32|whole number|spin is"):
        load(tiny_path, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "option"),
    [("tensorrt", {"threads": 4}), ("tensorrt", {"spin": False}), ("openvino", {"spin": True})],
)
@pytest.mark.parametrize("allow_fallback", [False, True])
def test_an_option_that_the_device_does_not_take_is_refused_with_the_devices_that_do(
    tiny_path: Path, device: str, option: dict[str, Any], allow_fallback: bool
) -> None:
    takers = ", ".join(name for name in device_names() if takes(name, *option))
    assert takers.startswith("auto, cpu, ")
    with pytest.raises(OptionError, match=f"'{device}' does not take {min(option)}; devices that do: {takers}$"):
        load(tiny_path, device=device, allow_fallback=allow_fallback, **option)


def test_who_only_scores_never_loads_encode_and_decode(tiny: TinyBundle) -> None:
    path = tiny.write()
    raw = bytearray(path.read_bytes())
    raw[raw.index(tiny.members["fp32/encode.onnx"]) + 5] ^= 1  # a skeleton that score does not use
    path.write_bytes(raw)
    with load(path, device="cpu") as vae:
        assert np.isfinite(vae.score(ROWS).score).all()
        with pytest.raises(BundleCorrupt, match=r"fp32/encode\.onnx"):
            vae.encode(ROWS)


def test_use_after_close_is_refused_and_close_twice_is_fine(tiny_path: Path) -> None:
    vae = load(tiny_path, device="cpu")
    vae.close()
    vae.close()
    for call in (lambda: vae.score(ROWS), lambda: vae.sample(1, seed=1), lambda: vae.read_member("golden/input.bin")):
        with pytest.raises(SessionClosed, match=r"load\(\) again"):
            call()


def test_close_waits_for_the_calls_that_run(tiny_path: Path) -> None:
    vae = load(tiny_path, device="cpu")
    vae.score(ROWS)
    inside, leave = threading.Event(), threading.Event()
    real = vae._backend.run

    def slow(*args: object) -> list[np.ndarray]:
        inside.set()
        leave.wait(5)
        return real(*args)  # type: ignore[arg-type]

    vae._backend.run = slow  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(2) as pool:
        scoring = pool.submit(vae.score, ROWS[:4])
        assert inside.wait(5)
        closing = pool.submit(vae.close)
        time.sleep(0.05)
        assert not closing.done()
        leave.set()
        assert len(scoring.result(5)) == 4
        closing.result(5)
    with pytest.raises(SessionClosed):
        vae.score(ROWS)


def test_32_threads_on_one_session_give_the_serial_scores(vae: VAE) -> None:
    expected = vae.score(ROWS).score
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: vae.score(ROWS).score, range(96)))
    for scores in found:
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("n", [3, 65])
def test_no_name_of_an_output_is_no_output(vae: VAE, n: int) -> None:
    assert vae.run_graph("encode", {"x": np.zeros((n, FEATURES), np.float32)}, []) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_refused(vae: VAE) -> None:
    vae.score(ROWS)
    child = os.fork()
    if child == 0:
        try:
            vae.score(ROWS)
        except SessionClosed:
            os._exit(17)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17


def test_the_callers_array_is_never_written_to(vae: VAE) -> None:
    x = ROWS.copy()
    x[0] = np.nan
    x.flags.writeable = False
    vae.score(x, maps=True)
    np.testing.assert_array_equal(x[1:], ROWS[1:])


def test_rows_that_are_drawn_are_finite_or_an_error(tmp_path: Path) -> None:
    """Infinite weights are no damage that a hash could show; scores say so by a status."""
    bundle = TinyBundle(tmp_path / "b.vaeb")
    part = onnx.ModelProto()
    for name in DECODE_WEIGHTS:
        weight = np.full_like(WEIGHTS[name], np.inf) if name == "b_out" else WEIGHTS[name]
        part.graph.initializer.append(numpy_helper.from_array(weight, name))
    bundle.write(bundle.replace_member("fp32/decoder.weights", part.SerializeToString()))
    with load(bundle.path, device="cpu", threads=1) as vae:
        for call in (lambda: vae.sample(2, seed=1), lambda: vae.interpolate(ROWS[0], ROWS[1])):
            with pytest.raises(BackendError, match="row 0 is decoded to what is not finite"):
                call()

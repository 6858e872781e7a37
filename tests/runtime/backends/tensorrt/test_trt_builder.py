"""Every failure TensorRT reports by None, False or -1 becomes an error that says what it was."""

from __future__ import annotations

from typing import Any

import pytest
from fake_tensorrt import FakeTensorRt
from rig import two_inputs

from vae_edge_runtime import BackendError, OptionError, ProviderUnavailable
from vae_edge_runtime.backends.tensorrt import Binding, BuildOptions, BuiltEngine, binding, build, find_binding


def built(fake: FakeTensorRt, **options: Any) -> BuiltEngine:
    settings = {name: options.pop(name) for name in ("max_batch", "workspace_bytes") if name in options}
    there = Binding(fake, "tensorrt", "10.3.0", True)
    return build(two_inputs(), BuildOptions(**settings), binding=there, graph="score", **options)


def test_a_build_is_strongly_typed_with_one_profile_for_a_row_and_one_for_batches() -> None:
    fake = FakeTensorRt()
    seen: list[tuple[str, int, int]] = []
    found = built(fake, max_batch=16, workspace_bytes=64 << 20, progress=lambda *step: seen.append(step))
    assert found.engine.endswith(two_inputs())
    assert (found.timing_cache, fake.flags, fake.workspace) == (b"+measured", 1 << 1, 64 << 20)
    assert fake.cleared == [fake.BuilderFlag.TF32]
    assert fake.profiles == [
        {"x": ((1, 3, 8), (1, 3, 8), (1, 3, 8)), "k": ((1,), (1,), (1,))},
        {"x": ((2, 3, 8), (16, 3, 8), (16, 3, 8)), "k": ((2,), (16,), (16,))},
    ]
    assert seen == [("Building", 1, 2), ("Building", 2, 2)]


def test_an_engine_for_single_rows_has_one_profile() -> None:
    assert BuildOptions(max_batch=1).profiles == ((1, 1, 1),)


def test_a_timing_cache_of_another_device_is_left_out() -> None:
    fake = FakeTensorRt()
    assert built(fake, timing_cache=b"+measured").timing_cache == b"+measured+measured"
    assert built(fake, timing_cache=b"foreign").timing_cache == b"+measured"
    assert fake.caches == [b"+measured", b"foreign", b""]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parser_errors": ["no importer for Bernoulli"]}, "refused graph 'score': no importer for Bernoulli"),
        ({"refuses_profile": True}, r"refused batches \(1, 1, 1\)"),
        (
            {"messages": ["Could not find any implementation for node conv"]},
            "ran out of memory.*256 MiB",
        ),
        ({"messages": ["Error Code 2: OutOfMemory"]}, "ran out of memory"),
        ({"messages": ["Internal Error: tactic"]}, "could not build graph 'score': Internal Error"),
        ({"messages": [""]}, "no word"),
    ],
)
def test_a_failure_is_named(change: dict[str, Any], said: str) -> None:
    fake = FakeTensorRt()
    vars(fake).update(change)
    with pytest.raises(BackendError, match=said):
        built(fake)


def test_ctrl_c_ends_a_build_at_its_next_step() -> None:
    def stop(*step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(FakeTensorRt(), progress=stop)


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_batch": 4097}, {"workspace_bytes": 1000}])
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        BuildOptions(**wrong)


def test_a_tensorrt_that_is_absent_broken_or_old_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ModuleNotFoundError("No module named 'tensorrt'"), ImportError("libnvdla_compiler.so: cannot open")):

        def fail(name: str, error: ImportError = error) -> Any:
            raise error

        monkeypatch.setattr(binding.importlib, "import_module", fail)
        with pytest.raises(ProviderUnavailable, match=r"(No module|libnvdla).*python3-libnvinfer"):
            find_binding()
    old = FakeTensorRt()
    old.NetworkDefinitionCreationFlag = type("Flags", (), {"EXPLICIT_BATCH": 0})  # type: ignore[misc,assignment]
    monkeypatch.setattr(binding.importlib, "import_module", lambda name: old)
    with pytest.raises(ProviderUnavailable, match=r"10\.3 \(JetPack 6\.1\) or newer"):
        find_binding()

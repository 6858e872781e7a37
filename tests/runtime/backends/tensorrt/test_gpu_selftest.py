"""The self-test of a GPU, on the doubles of driver and TensorRT; on a machine without a GPU it says so."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from fake_cuda import FakeCuda
from rig import Rig

from vae_edge_runtime import ProviderUnavailable, gpu_selftest
from vae_edge_runtime.__main__ import main
from vae_edge_runtime.backends.tensorrt import Driver, backend
from vae_edge_runtime.gpu_selftest import SelfTest, run_selftest


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rig:
    rig = Rig(FakeCuda(memory=1 << 30))
    monkeypatch.setenv("VAE_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(backend, "process_driver", rig.process_driver)
    monkeypatch.setitem(sys.modules, "tensorrt", rig.trt)  # type: ignore[arg-type]
    monkeypatch.setattr(gpu_selftest, "_COPY_BYTES", 1 << 16)
    return rig


def outcomes(report: SelfTest) -> dict[str, str]:
    return {step.name: step.outcome for step in report.steps}


def test_the_driver_and_every_device_that_is_there_are_tried(machine: Rig, tiny_path: Path) -> None:
    report = run_selftest(tiny_path, open_driver=machine.driver)
    assert outcomes(report) == {
        "pinned and mapped memory": "passed",
        "copies, plain and captured": "passed",
        "memory that runs out": "passed",
        "a second context after the first was released": "passed",
        "golden vectors on cuda": "absent",
        "golden vectors on cuda-tf32": "absent",
        "golden vectors on tensorrt": "passed",
        "golden vectors on tensorrt-tf32": "passed",
    }
    assert report.ok
    golden = next(step for step in report.steps if step.name.endswith("tensorrt"))
    assert golden.figures["engine"] == "tensorrt 10.3.0"
    assert float(golden.figures["worst relative difference"]) < 1e-5
    assert str(golden.figures["outputs"]).endswith("within tolerance")
    machine.close()
    assert (machine.cuda.leaks(), machine.cuda.violations) == ([], [])


def test_the_line_for_the_docs_is_a_row_of_its_table(machine: Rig, tiny_path: Path) -> None:
    line = run_selftest(tiny_path, open_driver=machine.driver).line
    assert line.startswith("| ")
    assert line.count(" | ") == 3
    assert "Orin, SM 8.7, CUDA 12.6" in line
    assert "tensorrt 10.3.0" in line
    assert "| the driver alone |" in run_selftest(None, open_driver=machine.driver).line


@pytest.mark.parametrize(
    ("call", "code", "failed"),
    [
        ("cuMemHostGetDevicePointer_v2", 1, ["pinned and mapped memory"]),
        ("cuGraphLaunch", 700, ["copies, plain and captured", "a second context after the first was released"]),
    ],
)
def test_what_fails_is_named_and_the_rest_still_tried(machine: Rig, call: str, code: int, failed: list[str]) -> None:
    machine.cuda.failures[call] = code
    report = run_selftest(None, open_driver=machine.driver)
    assert [name for name, outcome in outcomes(report).items() if outcome == "failed"] == failed
    assert len(report.steps) == 4
    assert not report.ok
    assert f"{call} failed with {code}" in next(step.why for step in report.steps if step.outcome == "failed")


def test_a_captured_graph_that_does_nothing_is_noticed(machine: Rig) -> None:
    machine.cuda.failures["cuGraphLaunch"] = 0  # answers that all is well
    report = run_selftest(None, open_driver=machine.driver)
    assert "what a captured graph copied differs" in next(step.why for step in report.steps if step.why)


def test_memory_without_end_is_a_failure(machine: Rig) -> None:
    def small() -> Driver:
        driver = machine.driver()
        driver.device = dataclasses.replace(driver.device, memory_bytes=1 << 10)
        return driver

    report = run_selftest(None, open_driver=small)
    assert outcomes(report)["memory that runs out"] == "failed"
    assert "four times the memory of the GPU was to be had" in next(s.why for s in report.steps if s.why)


def test_without_a_gpu_it_says_so_and_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        gpu_selftest.Driver()
    except ProviderUnavailable:
        pass
    else:
        pytest.skip("this machine has a GPU")
    assert main(["selftest-gpu"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "no CUDA driver of 11.4 or newer" in err or "CUDA does not start" in err


def test_the_command_prints_a_document_and_the_line(
    machine: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_selftest.run_selftest, "__kwdefaults__", {"open_driver": machine.driver, "tell": print})
    assert main(["selftest-gpu"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["ok"], document["device"]["name"], len(document["steps"])) == (True, "Orin", 4)
    assert f"for docs/verified-on.md:\n{document['line']}\n" in err
    assert "passed  pinned and mapped memory" in err

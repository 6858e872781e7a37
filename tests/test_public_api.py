"""What ``from package import name`` may rely on."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from pkgutil import iter_modules, walk_packages
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vae_edge", "vae_edge_export", "vae_edge_runtime")

RUNTIME_NAMES = {"VAE", "Bundle", "Manifest", "Posterior", "Scores", "SessionInfo", "Status", "Verification"}
RUNTIME_NAMES |= {
    "Anatomy",
    "Decompressed",
    "Event",
    "GoldenCheck",
    "HeadScores",
    "Recalibration",
    "Scorer",
    "ScoreSketch",
    "Stream",
    "ThresholdChange",
    "load",
    "recalibrate",
    "verify",
    "samples_needed",
    "standard_normal",
    "__version__",
}


def _package(name: str) -> ModuleType:
    if name != "vae_edge_runtime":
        pytest.importorskip("torch")
    return importlib.import_module(name)


def _public(module: ModuleType) -> list[tuple[str, object]]:
    return [(name, getattr(module, name)) for name in module.__all__]


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_what_the_package_has(package: str) -> None:
    module = _package(package)
    names = module.__all__
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), name
    here = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    extra = {name for name in here if getattr(vars(module)[name], "__module__", "").startswith("vae_edge")} - set(names)
    assert extra == set()


def test_the_runtime_offers_these_names_and_every_error() -> None:
    runtime = importlib.import_module("vae_edge_runtime")
    errors = importlib.import_module("vae_edge_runtime.errors")
    deliberate = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.VaeEdgeError)
    }
    assert set(runtime.__all__) == RUNTIME_NAMES | deliberate


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_hides_a_module(package: str) -> None:
    root = _package(package)
    packages = [root.__name__, *(found.name for found in walk_packages(root.__path__, f"{package}.") if found.ispkg)]
    for name in packages:
        module = importlib.import_module(name)
        modules = {found.name for found in iter_modules(module.__path__)}
        assert modules & set(getattr(module, "__all__", ())) == set(), name
        for public in getattr(module, "__all__", ()):
            getattr(module, public)  # a lazy name binds itself, which must not happen over a module either
        for inner in modules & set(vars(module)):
            assert inspect.ismodule(vars(module)[inner]), f"{name}.{inner}"


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_that_are_imported_late_are_listed_by_dir(package: str) -> None:
    module = _package(package)
    assert set(module.__all__) <= set(dir(module))


def test_modules_of_verify_and_recalibrate_are_modules() -> None:
    import vae_edge_runtime.recalibration as recalibration
    import vae_edge_runtime.verification as verification

    runtime = importlib.import_module("vae_edge_runtime")
    assert recalibration.recalibrate is runtime.recalibrate
    assert verification.verify is runtime.verify
    with pytest.raises(AttributeError, match="has no attribute 'tune'"):
        _ = runtime.tune


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_has_a_docstring(package: str) -> None:
    bare = []
    for name, value in _public(_package(package)):
        if inspect.isclass(value):
            members = [(f"{name}.{m}", v) for m, v in vars(value).items() if not m.startswith("_")]
            bare += [n for n, v in members if (inspect.isfunction(v) or isinstance(v, property)) and not v.__doc__]
        if (inspect.isclass(value) or inspect.isfunction(value)) and not inspect.getdoc(value):
            bare.append(name)
    assert bare == []


@pytest.mark.parametrize("package", PACKAGES)
def test_options_of_public_functions_are_keyword_only(package: str) -> None:
    loose = []
    for name, value in _public(_package(package)):
        if inspect.isfunction(value):
            parameters = inspect.signature(value).parameters.values()
            loose += [f"{name}({p.name}=)" for p in parameters if p.default is not p.empty and p.kind != p.KEYWORD_ONLY]
    assert loose == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_it_is_typed(package: str) -> None:
    module = _package(package)
    assert (Path(module.__file__ or "").parent / "py.typed").read_bytes() == b""


def test_there_is_one_version() -> None:
    runtime = importlib.import_module("vae_edge_runtime")
    front = importlib.import_module("vae_edge")
    assert front.__version__ == runtime.__version__
    written = [
        path
        for root in ("vae_edge", "export", "runtime")
        for path in (ROOT / root).rglob("*.py")
        if re.search(r"^__version__\s*=", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    assert [path.name for path in written] == ["_version.py"]
    assert f"## {runtime.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

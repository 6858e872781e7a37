"""Run the conformance cases by one language, keep what came out, and write ``docs/conformance.md`` from what is kept.

    python tests/conformance/results.py python
    python tests/conformance/results.py c

A language whose runner is a program of its own writes ``results/LANGUAGE.json`` itself, in the form of the others.
"""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path += [str(Path(__file__).parent), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "cpp")]

from runner import HERE, Runtime, cases, python, run  # noqa: E402

RESULTS = HERE / "results"
PAGE = ROOT / "docs" / "conformance.md"
_HEAD = """# Conformance: which language passes which cases

Every runtime of vae-edge runs the same cases: bundles, inputs, expected outputs, and names of errors as plain data in
[tests/conformance](../tests/conformance/README.md). A runtime in a further language starts by running them.

The table says how many cases of each kind a language passed. A dash marks a kind that a language does not have.

"""


def counted() -> dict[str, int]:
    """Cases of each kind."""
    return dict(sorted(collections.Counter(case["do"] for case in cases().values()).items()))


def stored() -> dict[str, Any]:
    """What is kept of each language, by the name of its file."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def page(results: dict[str, Any]) -> str:
    """The text of ``docs/conformance.md``."""
    order = sorted(results.values(), key=lambda result: (result["language"] != "Python", result["language"]))
    lines = ["| kind | " + " | ".join(result["language"] for result in order) + " |", "|---" * (len(order) + 1) + "|"]
    for kind in counted():
        cells = [result["kinds"].get(kind, [0, 0]) for result in order]
        lines.append(f"| `{kind}` | " + " | ".join(f"{p} of {n}" if n else "–" for p, n in cells) + " |")
    lines.append("| engine | " + " | ".join(result["engine"] for result in order) + " |")
    failed = [f"- {r['language']}: `{case}`: {why}" for r in order for case, why in r["failed"].items()]
    listed = "\nCases that are not passed:\n\n" + "\n".join(failed) + "\n" if failed else ""
    return _HEAD + "\n".join(lines) + "\n" + listed


def outcome(language: str, engine: str, runtime: Runtime) -> dict[str, Any]:
    """Run every case."""
    passed: collections.Counter[str] = collections.Counter()
    failed = {}
    for name, case in cases().items():
        try:
            run(case, runtime)
        except AssertionError as error:
            failed[name] = str(error).splitlines()[0] if str(error) else "differs"
        else:
            passed[case["do"]] += 1
    kinds = {kind: [passed[kind], total] for kind, total in counted().items()}
    return {"language": language, "engine": engine, "kinds": kinds, "failed": failed}


def _c() -> Runtime:
    from building import BUILD, compiler, onnxruntime_library, shared_library
    from c_runtime import CRuntime

    cxx = compiler()
    if cxx is None:
        raise SystemExit("no C++ compiler is installed: apt-get install g++")
    return CRuntime(shared_library(BUILD / "test", cxx, "-O1", "-Wall", "-Wextra", "-Werror"), onnxruntime_library())


def main(name: str) -> None:
    """Run a language that has a runner in Python, and write the page."""
    import onnxruntime

    engine = f"onnxruntime {onnxruntime.__version__}"
    if name == "python":
        result = outcome("Python", engine, python())
    elif name == "c":
        result = outcome("C and C++", engine, _c())
    else:
        raise SystemExit(f"{name}: no runner is known; valid are python and c")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(stored()), "utf-8")
    sys.stdout.write("".join(f"{kind}: {p} of {n}\n" for kind, (p, n) in result["kinds"].items()))


if __name__ == "__main__":
    main(*sys.argv[1:])

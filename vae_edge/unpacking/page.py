"""The README of an unpacked folder: its graphs, and programs for these very shapes that a test runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OV = {"float32": "f32", "uint8": "u8", "int64": "i64"}
_CPP = {"float32": "float", "uint8": "uint8_t", "int64": "int64_t"}
_JS = {"float32": "Float32Array", "uint8": "Uint8Array", "int64": "BigInt64Array"}


_SIGNED = (
    "The 8-bit weights of these graphs are signed. On x86 CPUs without VNNI engines add their products in 16 bits, "
    "which may saturate: give ONNX Runtime's session the entry `session.disable_quant_qdq` with `1` there, or export "
    "the model again and take `int8-cpu`."
)


def readme(said: Mapping[str, Any], *, signed_weights: bool = False) -> str:
    """The text of ``README.md``, from the content of ``bundle.json``.

    Args:
        said: that content.
        signed_weights: 8-bit weights of a graph have a sign.
    """
    name = said["model"]["name"]
    rows = [
        f"| `{graph['file']}` | {side} | `{t['name']}` | {_cell(t['meaning'])} |"
        for graph in said["graphs"].values()
        for side in ("inputs", "outputs")
        for t in graph[side]
    ]
    head = said["heads"][0] if said["heads"] else {}
    rule = (
        "The bundle was exported for generation: no graph scores, and there is no threshold."
        if not head
        else f"A row is an anomaly where its score is above {head['threshold']!r} (head {head['name']})."
        if "threshold" in head
        else "The bundle has no calibration, so it has no threshold and no p-values."
    )
    parts = [
        f"# {_cell(name)}, unpacked",
        f"Made by `vae-edge unpack` from bundle `{said['bundle_id']}`, variant `{said['variant']}`, "
        f"release {said['release']}.",
        "Each `.onnx` file stands alone. Preprocessing is inside the graphs: feed raw rows in data units. The first "
        "axis is the batch, of any size.",
        "\n".join(["| file | side | name | meaning |", "|---|---|---|---|", *rows]),
        rule,
        "- `bundle.json` holds the same facts, all heads with their calibration, the rules for streams, and the list "
        "of golden arrays.\n- `bundle.h` holds the figures as C constants.\n"
        "- `golden/` holds inputs and expected outputs, raw and little-endian. A program is right where it gives these "
        "outputs within the tolerances of `bundle.json`.",
        *([_SIGNED] if signed_weights else []),
        "The programs below score the golden rows. Each prints one line a row. Start them in this folder."
        if head
        else "The program below decodes the golden latents, and prints one line a row. Start it in this folder.",
        "These files are no longer protected by the checks of the bundle reader. Keep the bundle, and unpack it again "
        "after an update.",
    ]
    if not head:
        parts += ["## Python, with onnxruntime alone", "pip install onnxruntime numpy"]
        parts.append(f"```python\n{_decoding(said)}\n```")
        return "\n\n".join(parts) + "\n"
    for title, note, language, program in (
        ("Python, with onnxruntime alone", "pip install onnxruntime numpy", "python", _python(said)),
        ("Node", "npm install onnxruntime-node", "js", _node(said)),
        ("Browser", "Copy `onnxruntime-web` beside this page, and serve the folder: `python -m http.server`.", "html",
         _browser(said)),
        ("C++, with OpenVINO", "`pip install openvino` brings headers, libraries and CMake files.", "cpp", _cpp(said)),
        ("OpenCV", "pip install opencv-python-headless; version 5 reads most graphs, and no recurrent ones.", "python",
         _opencv(said)),
    ):  # fmt: skip
        parts += [f"## {title}", note, f"```{language}\n{program.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/").replace("<", "&lt;")


def _fed(said: Mapping[str, Any], graph: str = "score") -> list[dict[str, Any]]:
    """Golden inputs of a graph."""
    return [g for g in said["golden"] if g["graph"] == graph and g["role"] == "input"]


def _decoding(said: Mapping[str, Any]) -> str:
    """A Python program of a bundle for generation."""
    feeds = "\n".join(
        f'    "{g["name"]}": np.fromfile("{g["file"]}", np.{g["dtype"]}).reshape({tuple(g["shape"])}),'
        for g in _fed(said, "decode")
    )
    return f"""
import numpy as np
import onnxruntime

feeds = {{
{feeds}
}}
session = onnxruntime.InferenceSession("decode.onnx", providers=["CPUExecutionProvider"])
(rows,) = session.run(["x_hat"], feeds)
for row in rows:
    print(row.shape, f"{{row.min():.6g}} to {{row.max():.6g}}")
""".strip()


def _calibrated(said: Mapping[str, Any]) -> bool:
    return "threshold" in said["heads"][0]


def _python(said: Mapping[str, Any]) -> str:
    feeds = "\n".join(
        f'    "{g["name"]}": np.fromfile("{g["file"]}", np.{g["dtype"]}).reshape({tuple(g["shape"])}),'
        for g in _fed(said)
    )
    decide = """
head = json.load(open("bundle.json"))["heads"][0]
points = head["points"]
count = np.append(head["n"], points["above"])[np.searchsorted(np.float32(points["score"]), scores)]
p_values = (1 + count) / (head["n"] + 1)
for score, p_value in zip(scores, p_values):
    print(f"{score:.6g}", "anomaly" if score > head["threshold"] else "normal", f"{p_value:.6g}")
"""
    plain = """
for score in scores:
    print(f"{score:.6g}")
"""
    return f"""
import json

import numpy as np
import onnxruntime

feeds = {{
{feeds}
}}
session = onnxruntime.InferenceSession("score.onnx", providers=["CPUExecutionProvider"])
(scores,) = session.run(["score"], feeds)
{(decide if _calibrated(said) else plain).strip()}
"""


_JS_DECIDE = """
for (const score of scores) {
  const below = points.score.filter((point) => point < score).length;
  const pValue = (1 + (below ? points.above[below - 1] : n)) / (n + 1);
  lines.push(`${Number(score.toPrecision(6))} ${score > threshold ? "anomaly" : "normal"} ${pValue}`);
}
"""
_JS_PLAIN = """
for (const score of scores) lines.push(String(Number(score.toPrecision(6))));
"""


def _js(said: Mapping[str, Any], read: str) -> str:
    feeds = "\n".join(
        f'  {g["name"]}: new ort.Tensor("{g["dtype"]}", new {_JS[g["dtype"]]}({read.format(g["file"])}), {g["shape"]}),'
        for g in _fed(said)
    )
    names = "const { points, n, threshold } = bundle.heads[0];\n" if _calibrated(said) else ""
    return (
        f'const scores = (await session.run({{\n{feeds}\n}}, ["score"])).score.data;\n{names}const lines = [];\n'
        + (_JS_DECIDE if _calibrated(said) else _JS_PLAIN).strip()
    )


def _node(said: Mapping[str, Any]) -> str:
    return f"""
import {{ readFileSync }} from "node:fs";
import * as ort from "onnxruntime-node";

const bytes = (file) => new Uint8Array(readFileSync(file)).buffer;
const bundle = JSON.parse(readFileSync("bundle.json", "utf8"));
const session = await ort.InferenceSession.create("score.onnx");
{_js(said, 'bytes("{}")')}
console.log(lines.join("\\n"));
"""


def _browser(said: Mapping[str, Any]) -> str:
    return f"""
<!doctype html>
<meta charset="utf-8">
<pre id="out">running</pre>
<script type="module">
import * as ort from "./onnxruntime-web/dist/ort.wasm.min.mjs";
ort.env.wasm.wasmPaths = new URL("./onnxruntime-web/dist/", location.href).href;
ort.env.wasm.numThreads = 1;
const bytes = async (file) => (await fetch(file)).arrayBuffer();
const bundle = await (await fetch("bundle.json")).json();
const session = await ort.InferenceSession.create(await bytes("score.onnx"));
{_js(said, 'await bytes("{}")')}
document.getElementById("out").textContent = lines.join("\\n");
</script>
"""


def _cpp(said: Mapping[str, Any]) -> str:
    fed = _fed(said)
    feeds = "\n".join(
        f'    auto {g["name"]} = read<{_CPP[g["dtype"]]}>("{g["file"]}");\n'
        f'    request.set_tensor("{g["name"]}", ov::Tensor(ov::element::{_OV[g["dtype"]]}, '
        f"{{{', '.join(map(str, g['shape']))}}}, {g['name']}.data()));"
        for g in fed
    )
    macro = "VAE_HEAD_" + said["heads"][0]["name"].upper() + "_THRESHOLD"
    shown = (
        f'std::printf("%.6g %s\\n", double(score[row]), score[row] > {macro} ? "anomaly" : "normal");'
        if _calibrated(said)
        else 'std::printf("%.6g\\n", double(score[row]));'
    )
    return f"""
#include <cstdio>
#include <fstream>
#include <iterator>
#include <openvino/openvino.hpp>
#include <vector>

#include "bundle.h"

template <class T>
std::vector<T> read(const char* file) {{
    std::ifstream in(file, std::ios::binary);
    std::vector<char> raw((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const T* first = reinterpret_cast<const T*>(raw.data());
    return std::vector<T>(first, first + raw.size() / sizeof(T));
}}

int main() {{
    ov::Core core;
    auto model = core.compile_model("score.onnx", "CPU", ov::hint::inference_precision(ov::element::f32));
    auto request = model.create_infer_request();
{feeds}
    request.infer();
    const float* score = request.get_tensor("score").data<const float>();
    for (int row = 0; row < {fed[0]["shape"][0]}; ++row) {{
        {shown}
    }}
}}
"""


def _opencv(said: Mapping[str, Any]) -> str:
    feeds = "\n".join(
        f'net.setInput(np.fromfile("{g["file"]}", np.{g["dtype"]}).reshape({tuple(g["shape"])}), "{g["name"]}")'
        for g in _fed(said)
    )
    return f"""
import json

import cv2
import numpy as np

net = cv2.dnn.readNetFromONNX("score.onnx")
{feeds}
head = json.load(open("bundle.json"))["heads"][0]
for score in net.forward("score").ravel():
    print(f"{{score:.6g}}", {'"anomaly" if score > head["threshold"] else "normal"' if _calibrated(said) else '""'})
"""

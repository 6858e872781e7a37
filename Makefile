# Everything sets itself up in .venv: only Python 3.10+ with pip is needed.
#   make demo   the main job on real data, pictures in build/demo
#   make test   the fast tests        make slow   the others        make lint   style and types
#   make zoo    real classes of diffusers, pythae and PyOD, and an older onnxruntime
#   make rtx    TensorRT RTX parses and builds every graph at every precision, on a CPU
#   make gpu-stubs   TensorRT's own Python bindings, three versions, over a C stub built on the spot, and cuda.h; x86-64 with gcc
#   make test-js   the JavaScript package in Node and in Chromium, and the demo page; needs node, npm and chromium
#   make ort-gpu   what the real wheel onnxruntime-gpu, 256 MB, says on a machine without a GPU; opt-in
#   make test-arm64   the runtime's tests and a bundle on aarch64, emulated; on a Debian machine
#   make compatibility   the same, into docs/compatibility.md
#   make bench  speed beside PyTorch, OpenVINO and plain ONNX Runtime, into docs/benchmarks.md and benchmarks/speed/targets.md; half an hour alone
#   make fuzz   damaged files and graphs, a minute for each reader and engine; FUZZ="scanner --seconds 600" for others
#   make fuzz-cpp   libFuzzer on the reader of libvaeedge, a minute; VAE_EDGE_FUZZ_SECONDS for others; needs clang
#   make soak   ten million scores, and a file of 10 GB; minutes, opt-in
#   make lakes  the blocks of docs/lakes.md on Polars, Ray, Spark and Daft, with workers killed; some 900 MB, opt-in
#   make day    a day of sensor rows at 100 Hz with planted faults and anomalies, through vae-edge watch
PYTHON ?= python3
TORCH := torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
STAMP := $(VENV)/.installed
ZOO_STAMP := $(VENV)/.zoo-installed
GPU_STUBS := $(VENV)/gpu-stubs
OLDER_ORT := $(VENV)/onnxruntime-1.23.2
JS := $(VENV)/js
# OpenMP threads that spin while they wait make a busy machine ten times slower (measured); results are the same.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo day test slow zoo lakes rtx gpu-stubs ort-gpu test-js test-arm64 compatibility bench fuzz soak lint clean fuzz-cpp

demo: $(STAMP)
	$(BIN)/python examples/demo/run.py --output build/demo

day: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python examples/stream/run.py --output build/day

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n 2 -m "not slow and not zoo and not rtx and not gpu_stubs and not soak and not lakes"

slow: $(STAMP)
	$(BIN)/python -m pytest -rs -m slow

zoo: $(ZOO_STAMP)
	VAE_EDGE_ORT_1_23=$(abspath $(OLDER_ORT)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n 2 -m zoo
	PYTHONPATH=$(abspath $(OLDER_ORT)) $(BIN)/python -m pytest tests/runtime/format/test_operators.py

rtx: $(STAMP)
	$(PIP) -c constraints.txt --group rtx
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n 2 -m rtx

# Some 1.2 MB each, without NVIDIA's libraries: from 10.3, which JetPack 6 has, to 11.
gpu-stubs: $(STAMP)
	$(PIP) --upgrade --no-deps --target $(GPU_STUBS)/10.3 tensorrt-cu12-bindings==10.3.0
	$(PIP) --upgrade --no-deps --target $(GPU_STUBS)/10.16 tensorrt-cu12-bindings==10.16.1.11
	$(PIP) --upgrade --no-deps --target $(GPU_STUBS)/11.4 tensorrt-cu13-bindings==11.4.0.106
	$(PIP) --upgrade --no-deps --target $(VENV)/cuda-h/12 nvidia-cuda-runtime-cu12==12.9.79
	$(PIP) --upgrade --no-deps --target $(VENV)/cuda-h/13 nvidia-cuda-runtime==13.0.96
	VAE_EDGE_CUDA_H=$(abspath $(VENV)/cuda-h) VAE_EDGE_GPU_STUBS=$(abspath $(GPU_STUBS)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m gpu_stubs tests/gpu_stubs

ort-gpu: $(STAMP)
	$(PIP) --upgrade --no-deps --target $(VENV)/onnxruntime-gpu onnxruntime-gpu==1.31.1
	VAE_EDGE_ORT_GPU=$(abspath $(VENV)/onnxruntime-gpu) $(BIN)/python -m pytest -rs -m gpu_stubs tests/gpu_stubs/test_ort_gpu_wheel.py

test-js: $(STAMP) $(JS)/.installed
	VAE_EDGE_JS=$(abspath $(JS)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/js

# Without the scripts of the packages: that of onnxruntime-node downloads CUDA on Linux x64. Its CPU libraries are inside.
$(JS)/.installed: tests/js/package.json
	mkdir -p $(JS)
	cp tests/js/package.json $(JS)
	npm install --prefix $(JS) --ignore-scripts --no-audit --no-fund --no-package-lock --silent
	touch $@

test-arm64: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/arm64/lane.py
	$(BIN)/python tests/arm64/cpp.py

compatibility: $(ZOO_STAMP)
	VAE_EDGE_ORT_1_23=$(abspath $(OLDER_ORT)) $(BIN)/python tests/zoo/matrix.py docs/compatibility.md

soak: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -s -m soak

# Where java is absent, the tests of Spark are skipped by name.
lakes: $(STAMP)
	$(PIP) -c constraints.txt --group lakes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m lakes tests/lakes

fuzz: $(STAMP)
	PYTHONPATH=tests/support $(BIN)/python tests/fuzz/loop.py $(FUZZ)

fuzz-cpp: $(STAMP)
	VAE_EDGE_ALL_TOOLS=1 $(BIN)/python -m pytest -rs -m soak tests/cpp

bench: $(STAMP)
	$(BIN)/python benchmarks/speed/run.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The CPU build of torch goes in first (from pip's own find-links, else PyTorch's index, else
# wherever pip looks), so that the one resolver call after it finds it there and brings no CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "vae-edge needs Python 3.10 or newer; say make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) --no-deps --no-index $(TORCH) 2>/dev/null \
	  || $(PIP) --no-deps --retries 1 --timeout 15 --index-url $(TORCH_INDEX) $(TORCH) 2>/dev/null || true
	$(PIP) -c constraints.txt --group test --group lint -e ".[demo,parquet]" $(TORCH)
	touch $@

# onnxruntime 1.23.2 is the last one for Python 3.10, which JetPack 6 has; it lies beside the installed one.
$(ZOO_STAMP): $(STAMP)
	$(PIP) -c constraints.txt --group zoo $(TORCH)
	$(PIP) --no-deps --target $(OLDER_ORT) onnxruntime==1.23.2
	touch $@

clean:
	rm -rf $(VENV) build dist

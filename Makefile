# Everything sets itself up in .venv: only Python 3.10+ with pip is needed.
#   make demo   the main job on real data, pictures in build/demo
#   make test   the fast tests        make slow   the others        make lint   style and types
PYTHON ?= python3
TORCH := torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
STAMP := $(VENV)/.installed
# OpenMP threads that spin while they wait make a busy machine ten times slower (measured); results are the same.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test slow lint clean

demo: $(STAMP)
	$(BIN)/python examples/demo/run.py --output build/demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n 2 -m "not slow"

slow: $(STAMP)
	$(BIN)/python -m pytest -rs -m slow

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

clean:
	rm -rf $(VENV) build dist

# make demo: a page of what models draw and read, from nothing: digits that one is trained on, portraits by the one inside.
# make test: the test suite, from nothing, by two workers with one thread each (WORKERS).
# make test-fast: the tests that start no process and no browser.
# make check: lint, format, spelling, types (CONTRIBUTING.md).
# make bench-peers: training and sampling beside transfusion-pytorch (benchmarks/peers/README.md).   make bench-data: preparing
# and streaming beside bare loops of Pillow.
# make gpu-check: on an NVIDIA GPU, about six minutes: tests, ranks, speed, a short training; results in runs/gpu-check.
# make wheels: .whl/, what a CUDA machine without network needs beside torch and the usual packages (Linux x86-64, Python
# 3.12, 13 MB). There: pip install --no-index --no-deps --target /tmp/site .whl/*.whl
#                      PYTHONPATH=/tmp/site:. python3 -m benchmarks.gpu --out results
# Each makes a virtual environment of its own with the tested versions (constraints.txt). PYTHON and VENV can be set.
PYTHON ?= python3
VENV ?= .venv
VENV_PEERS ?= .venv-peers
WORKERS ?= 2
# not among the packages that come with torch, transformers, scikit-image and pytest
WHEELS = annotated-types datasets dill diffusers einx emoji frozendict httpx importlib_metadata lazy-importer loguru multiprocess \
  pydantic pydantic_core python-avatars resvg-py rich torch-einops-utils typing-inspection vector-quantize-pytorch
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: demo test test-fast check lint spelling types bench-peers bench-data gpu-check wheels docs clean

demo: $(VENV)/.rawmm
	$(VENV)/bin/rawmm demo

test: $(VENV)/.rawmm-dev
	$(PYTEST)

test-fast: $(VENV)/.rawmm-dev
	$(PYTEST) -m "not process and not browser"

check: lint spelling types

lint: $(VENV)/.rawmm-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

spelling: $(VENV)/.rawmm-dev
	$(VENV)/bin/codespell

types: $(VENV)/.rawmm-dev
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

bench-peers: $(VENV)/.rawmm $(VENV_PEERS)/.peers
	$(VENV)/bin/python -m benchmarks.peers.run --peer-python $(VENV_PEERS)/bin/python --json runs/bench-peers.json
	$(VENV)/bin/python -m benchmarks.peers.sampling --peer-python $(VENV_PEERS)/bin/python --json runs/bench-sampling.json

bench-data: $(VENV)/.rawmm
	$(VENV)/bin/python -m benchmarks.data --json runs/bench-data.json

gpu-check: $(VENV)/.rawmm-dev
	$(VENV)/bin/python -m benchmarks.gpu --out runs/gpu-check

wheels:
	rm -rf .whl
	$(PYTHON) -m pip download -q --no-deps -c constraints.txt --only-binary=:all: -d .whl --python-version 3.12 \
	  --implementation cp $(addprefix --platform manylinux,_2_28_x86_64 _2_27_x86_64 _2_17_x86_64 2014_x86_64 1_x86_64) $(WHEELS)
	@du -sh .whl

docs: $(VENV)/.rawmm
	$(VENV)/bin/python docs/make_cli.py

$(VENV)/bin/python $(VENV_PEERS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: Python 3.10 or newer is needed; set PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(@:%/bin/python=%) || { echo "error: 'python3 -m venv' failed; on Debian: apt install python3-venv"; exit 2; }

$(VENV)/.rawmm: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.rawmm-dev: $(VENV)/.rawmm
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV_PEERS)/.peers: $(VENV_PEERS)/bin/python constraints.txt benchmarks/peers/constraints.txt
	$(VENV_PEERS)/bin/python -m pip install -q -c constraints.txt -c benchmarks/peers/constraints.txt transfusion-pytorch numpy
	@touch $@

clean:
	rm -rf $(VENV) $(VENV_PEERS) .pytest_cache .whl build dist

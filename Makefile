# make demo: the main job, from nothing.   make test: the test suite, from nothing.
# Both make a virtual environment of their own with the tested versions (constraints.txt). PYTHON and VENV can be set.
PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test docs clean

demo: $(VENV)/.rawmm
	$(VENV)/bin/rawmm demo

test: $(VENV)/.rawmm-dev
	$(VENV)/bin/python -m pytest

docs: $(VENV)/.rawmm
	$(VENV)/bin/python docs/make_cli.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: Python 3.10 or newer is needed; set PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV) || { echo "error: 'python3 -m venv' failed; on Debian: apt install python3-venv"; exit 2; }

$(VENV)/.rawmm: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.rawmm-dev: $(VENV)/.rawmm
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache build dist

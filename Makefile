# `make demo` and `make test` need nothing but Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# The tests of a Slurm cluster have the machine for themselves.
CLUSTER = tests/slurm/test_devcluster.py tests/slurm/test_cluster.py tests/slurm/test_limits.py tests/slurm/test_memory.py

.PHONY: demo paper test lint clean

demo: $(VENV)/installed
	$(BIN)/memexp launch specs/digits.yaml --executor local --yes
	$(BIN)/memexp report runs/digits
	@echo "Open runs/digits/report/index.html in a browser."

paper: $(VENV)/installed
	$(BIN)/python analysis/paper.py

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(CLUSTER:%=--ignore=%)
	$(BIN)/python -m pytest $(CLUSTER)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "memexp needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) runs build *.egg-info

# `make demo` and `make test` need nothing but Python 3.11 or newer and make.
PYTHON ?= python3
NEWEST ?= python3.14
VENV ?= .venv
EXTRAS ?= dev,docs
BIN = $(VENV)/bin
# Arguments for pytest: make test-fast ARGS="-k sweep -x"
ARGS ?=
# Two processes of one thread each; whoever is idle takes over what waits. Compiled tests are kept, or each
# process compiles them all anew.
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
SIDE_BY_SIDE = --numprocesses 2 --dist worksteal
ALONE = not process and not browser and not slurm

# A virtual environment without pip, as on a Debian without python3-venv, is not taken for a whole one next time.
.DELETE_ON_ERROR:

.PHONY: demo docs paper test test-fast test-long test-process test-slurm test-lowest test-newest lint fix clean

demo: $(VENV)/installed
	$(BIN)/memexp launch specs/digits.yaml --executor local --yes
	$(BIN)/memexp report runs/digits
	@echo "Open runs/digits/report/index.html in a browser. For commands of your own: . $(BIN)/activate"

docs: $(VENV)/installed-dev
	$(BIN)/python docs/make_site.py

paper: $(VENV)/installed
	$(BIN)/python analysis/paper.py

# Every test is in exactly one of the four groups.
test: test-fast test-long test-process test-slurm

test-fast: $(VENV)/installed-dev
	$(PYTEST) $(SIDE_BY_SIDE) -m "not long and $(ALONE)" --durations=10 $(ARGS)

test-long: $(VENV)/installed-dev
	$(PYTEST) $(SIDE_BY_SIDE) -m "long and $(ALONE)" $(ARGS)

test-process: $(VENV)/installed-dev
	$(PYTEST) $(SIDE_BY_SIDE) -m "(process or browser) and not slurm" $(ARGS)

# Each process has clusters of its own; a test alone waits for two fifths of its time.
test-slurm: $(VENV)/installed-dev
	$(PYTEST) $(SIDE_BY_SIDE) -m slurm $(ARGS)

# The lowest versions that pyproject.toml allows, and the newest Python with what pip takes there.
test-lowest:
	$(MAKE) test-fast test-long VENV=.venv-lowest EXTRAS=dev CONSTRAINTS=tests/lowest.txt
test-newest:
	$(MAKE) test-fast test-long VENV=.venv-newest PYTHON=$(NEWEST)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "memexp needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV), some minutes: PyTorch for Linux brings CUDA, 6 GB; README has a smaller way without a GPU."
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS:%=--constraint %) --editable '.[$(EXTRAS)]'
	touch $@ $(VENV)/installed

clean:
	rm -rf .venv .venv-lowest .venv-newest runs build *.egg-info

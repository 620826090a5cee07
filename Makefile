# Every target sets up .venv first, with the versions in constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= $(shell nproc)

.PHONY: demo test lint types browser bench fuzz kill clean

demo: $(VENV)/demo-is-installed
	$(BIN)/archflow demo

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(shell nproc) --dist loadfile

lint: $(VENV)/dev-is-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev-is-installed
	$(BIN)/mypy

# Installs a browser for the tests of the report, which are skipped without one. CI runs this before `make test`.
browser:
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null \
			|| echo "Chromium could not be installed; the browser tests will be skipped"; \
	else echo "no Chromium and no way to install it; the browser tests will be skipped"; fi

bench: $(VENV)/dev-is-installed
	$(BIN)/python -m bench

# Long runs of the fuzzers that the tests run briefly.
fuzz: $(VENV)/dev-is-installed
	$(BIN)/python tests/support/fuzz_unpickle.py --cases 100000
	$(BIN)/python -m tests.support.fuzz_files --cases 20000

# 50 kills -9 of every verb that saves its work, at random moments, each result compared with an undisturbed one.
kill: $(VENV)/dev-is-installed
	$(BIN)/python -m tests.support.kill_runs --kills 50

$(VENV)/demo-is-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[benchmarks]'
	touch $@

$(VENV)/dev-is-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/demo-is-installed

clean:
	rm -rf $(VENV) demo

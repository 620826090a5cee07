# Every target sets up .venv first, with the versions in constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= $(shell nproc)

.PHONY: demo test lint types browser bench fuzz kill docs wheel clean

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

# The site, in build/site: a broken link or reference stops it. It opens without a server and without the internet.
docs: $(VENV)/docs-is-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site: build/site/index.html"

# The packages in dist/, checked; the wheel is installed into an empty environment, and the demonstration runs there.
wheel: $(VENV)/dev-is-installed
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m zipfile --list dist/*.whl | grep -q 'archflow/py.typed'
	! $(BIN)/python -m zipfile --list dist/*.whl | grep -E '^(tests|experiments|bench|docs|examples)/'
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt "$$(echo dist/*.whl)[benchmarks]"
	cd build/wheel && bin/archflow --version && bin/archflow demo

$(VENV)/demo-is-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[benchmarks]'
	touch $@

$(VENV)/dev-is-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/demo-is-installed

$(VENV)/docs-is-installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo

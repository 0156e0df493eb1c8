# Everything here works on a machine with Python >= 3.11, make and a C library: the first target that needs it makes
# the environment in .venv, with uv from the PATH or else installed into .tools.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test test-unit check format lint types imports protos protos-check docs docs-check deps lock audit bench bench-quick faults hostile replay-full focus-validate clean

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
export UV
BIN := .venv/bin
STAMP := .venv/.synced
# More than a machine's two cores: tests wait for others as much as they compute.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest

help: ## Tell what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.tools/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found. Set PYTHON=/path/to/python3." >&2; exit 1; }
	$(PYTHON) -m venv .tools || { echo "python -m venv failed: install your system's python3-venv package, or uv." >&2; rm -rf .tools; exit 1; }
	.tools/bin/pip install --quiet --disable-pip-version-check uv

$(STAMP): pyproject.toml uv.lock $(filter .tools/bin/uv,$(UV))
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found. Set PYTHON=/path/to/python3." >&2; exit 1; }
	$(UV) sync --frozen --all-extras --compile-bytecode --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@$(BIN)/python -m compileall -q src
	@touch $@

run: $(STAMP) ## Start the embedded PostgreSQL and the server on 127.0.0.1:50051; Ctrl-C stops both
	@exec $(BIN)/gatekeeper serve

test: $(STAMP) ## Run every quick test
	$(PYTEST) -n $(WORKERS) --dist worksteal

test-unit: $(STAMP) ## Run the tests that need no database
	$(PYTEST) tests/unit -n $(WORKERS)

check: format lint types imports protos-check docs-check deps lock audit test ## What CI runs: all checks, then all quick tests

format: $(STAMP) ## Are sources and protos formatted?
	$(BIN)/ruff format --check --quiet
	$(BIN)/buf format --diff --exit-code --path protos/gatekeeper

lint: $(STAMP) ## Are they clean?
	$(BIN)/ruff check --quiet
	$(BIN)/buf lint

types: $(STAMP) ## Do the types fit?
	$(BIN)/mypy

imports: $(STAMP) ## Do imports point one way?
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

docs: $(STAMP) ## Write the reference of settings
	$(BIN)/python tools/generate_settings.py

docs-check: $(STAMP) ## Is it fresh?
	$(BIN)/python tools/generate_settings.py --check

deps: $(STAMP) ## Is every import a declared dependency?
	$(BIN)/deptry src

protos: $(STAMP) ## Generate Python from the protos
	$(BIN)/python tools/generate_protos.py

protos-check: $(STAMP) ## Is the generated Python fresh?
	$(BIN)/python tools/generate_protos.py --check

lock: $(STAMP) ## Is the lock file fresh?
	$(UV) lock --check --quiet

audit: $(STAMP) ## Has any locked dependency a known vulnerability? Says so where nobody answers
	$(BIN)/python tools/audit_dependencies.py

bench: $(STAMP) ## Measure the server beside its baselines, in one run; about 25 minutes
	$(BIN)/python -m benchmarks

bench-quick: $(STAMP) ## The same in a minute, for a first look
	$(BIN)/python -m benchmarks --quick

faults: $(STAMP) ## Kill servers and PostgreSQL under load, across alerts and overrides; some six minutes
	$(PYTEST) tests/faults -m slow

hostile: $(STAMP) ## Send 100,000 hostile messages to every RPC of a server; two minutes
	$(PYTEST) tests/faults/test_hostile.py -m slow -s

replay-full: $(STAMP) ## Replay all real calls, with room and without; a few minutes
	$(PYTEST) tests/acceptance -m slow

focus-validate: $(STAMP) ## Ask the official FOCUS validator about an invoice and a credit note; needs Python 3.12
	$(BIN)/python -m tools.validate_focus

clean: ## Remove what was made here (not the data of `make run`)
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

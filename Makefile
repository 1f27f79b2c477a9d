# gamehub: one verb per task. `make` or `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := gamehub hub workers services storage domain protocol loadtest
ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.installed ## Start everything with simulated matches and open it in your browser
	@$(BIN)/gamehub demo $(ARGS)

.PHONY: test
test: $(VENV)/.installed-dev ## Run the quick tests (a few minutes, real Postgres and Valkey)
	@$(BIN)/python -m pytest -q -m "not proof" $(SIDE_BY_SIDE) $(ARGS)

# Each process starts servers of its own; tests on servers that were provided take turns.
SIDE_BY_SIDE := $(if $(GAMEHUB_TEST_DATABASE_URL)$(GAMEHUB_TEST_REDIS_URL),,-n auto --maxprocesses 4)

.PHONY: proofs
proofs: $(VENV)/.installed-dev ## Run the long proofs (full replays, faults under load)
	@$(BIN)/python -m pytest -q -m proof $(ARGS)

.PHONY: check
check: $(VENV)/.installed-dev ## Check style, types and generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m gamehub.contract --check

.PHONY: style
style: $(VENV)/.installed-dev ## Mend what the formatter and linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: contract
contract: $(VENV)/.installed ## Write .env.example and docs/contract from settings and message types
	@$(BIN)/python -m gamehub.contract

.PHONY: bench
bench: $(VENV)/.installed ## Measure hub and fold beside floors and write docs/benchmarks.md (25 minutes)
	@$(BIN)/python -m loadtest bench --document docs/benchmarks.md \
	  --svg docs/images/latency.svg $(ARGS)
	@$(BIN)/gamehub bench --only append --only ack --only fold --only story --only rebuild \
	  --document docs/benchmarks.md

.PHONY: soak
soak: $(VENV)/.installed ## Press a hub for 20 minutes and look for leaks (ARGS="--seconds 120")
	@$(BIN)/python -m loadtest soak --no-floor $(ARGS)

.PHONY: migrate
migrate: $(VENV)/.installed ## Bring the database up to date (DATABASE_URL or the running gamehub)
	@$(BIN)/gamehub migrate up

.PHONY: lock
lock: $(VENV)/.installed-dev ## Renew the lock files from pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile -q --upgrade \
	  $(LOCK_FLAGS) --build-deps-for editable -o requirements.lock pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile -q --upgrade \
	  $(LOCK_FLAGS) --build-deps-for editable --extra dev -c requirements.lock \
	  -o requirements-dev.lock pyproject.toml

LOCK_FLAGS := --allow-unsafe --strip-extras --no-annotate --no-config \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

.PHONY: clean
clean: ## Remove the virtual environment and caches (never the data)
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not here; install Python 3.11 or newer, or say make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: gamehub needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1); say make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module (on Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# What pip and the build say is shown only when it fails.
INSTALL = $(BIN)/python -m pip install -q --disable-pip-version-check
QUIETLY = > $(VENV)/install.log 2>&1 || { cat $(VENV)/install.log >&2; exit 1; }

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing gamehub and what it needs into $(VENV) (once)"
	@$(INSTALL) -r requirements.lock $(QUIETLY)
	@$(INSTALL) --no-build-isolation --no-deps -e . $(QUIETLY)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the tools for tests and checks into $(VENV) (once)"
	@$(INSTALL) -r requirements-dev.lock $(QUIETLY)
	@touch $@

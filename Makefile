# Everything starts here: each target sets up what it needs, with nothing but python3 on the machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PYTHONWARNINGS ?= ignore
# A company's own certificates are in the system's store.
export UV_SYSTEM_CERTS ?= true
# Without bytecode, every start would compile a thousand modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench lock clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(UV): bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "keepwell needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@echo "Setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	@touch $@

# A stamp is touched last, so that an interrupted installation is taken up again.
$(VENV)/runtime.stamp: $(UV) requirements.lock pyproject.toml
	@echo "Installing keepwell and what it stands on …"
	@$(UV) pip install --quiet --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp requirements-dev.lock
	@echo "Installing what tests and checks need …"
	@$(UV) pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/peers.stamp: $(VENV)/dev.stamp requirements-peers.lock
	@echo "Installing the peers of the benchmarks …"
	@$(UV) pip install --quiet --require-hashes -r requirements-peers.lock
	@touch $@

setup: $(VENV)/runtime.stamp  ## install the runtime into .venv

demo: $(VENV)/runtime.stamp  ## simulate a business, train, promote, serve on http://127.0.0.1:8000
	@$(BIN)/python -m experiments demo

test: $(VENV)/dev.stamp  ## all tests, in parallel; FULL=1: the slowest at their full size
	@$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(if $(FULL),--full)

lint: $(VENV)/dev.stamp  ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/dev.stamp  ## let ruff put the style right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/peers.stamp  ## speed, side by side with peers, as tables and as bench.json
	@$(BIN)/python -m experiments benchmark speed

lock: $(UV)  ## resolve the locks anew
	@$(COMPILE) pyproject.toml --extra postgresql -o requirements.lock
	@$(COMPILE) pyproject.toml --extra postgresql --extra dev -c requirements.lock -o requirements-dev.lock
	@$(COMPILE) pyproject.toml --extra postgresql --extra dev --extra peers -c requirements-dev.lock -o requirements-peers.lock

clean:  ## remove the environment and caches; var/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

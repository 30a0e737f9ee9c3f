# The two commands: `make demo` runs the whole method, `make test` runs all tests. Both set everything up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A local mirror of the public datasets, used when it is there; else they are downloaded from their origin.
ifneq ($(wildcard ../shared/data/upstream.tsv),)
export MPDD_MIRROR ?= $(abspath ../shared/data)
endif

.PHONY: demo test unit e2e lint setup clean

demo: setup
	$(BIN)/mpdd demo $(DEMO)

test: setup lint unit e2e

unit: setup
	$(BIN)/pytest -m "not e2e"

e2e: setup
	$(BIN)/pytest -m e2e

lint: setup
	$(BIN)/ruff check src backbones tests
	$(BIN)/ruff format --check src backbones tests
	$(BIN)/mypy

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,parquet]"
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The two commands: `make demo` runs the whole method, `make test` runs all tests. Both set everything up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A local mirror of the public datasets, used when it is there; else they are downloaded from their origin.
ifneq ($(wildcard ../shared/data/upstream.tsv),)
export MPDD_MIRROR ?= $(abspath ../shared/data)
endif

.PHONY: demo test bench unit e2e lint setup federated docs clean

demo: $(VENV)/ready
	$(BIN)/mpdd demo $(DEMO)
	@echo "\`. $(VENV)/bin/activate\` makes mpdd a command of this shell."

test: setup lint unit e2e

# MPDD_VLLM_PYTHON=PYTHON names the Python of an environment with vLLM, which then takes part.
bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.suite
	$(BIN)/python -m scripts.update_performance

unit: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not e2e" -n auto --dist loadgroup

e2e: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -m e2e -n 2 --dist loadgroup

lint: setup
	$(BIN)/ruff check src backbones benchmarks scripts tests
	$(BIN)/ruff format --check src backbones benchmarks scripts tests
	$(BIN)/mypy -n auto
	$(BIN)/python -m scripts.update_readme --check
	$(BIN)/python -m scripts.update_open31 --check
	$(BIN)/python -m scripts.update_method --check
	$(BIN)/python -m scripts.update_performance --check
	$(BIN)/python -m scripts.privacy_table update results/privacy --check

# Tests of federated metaprompts, in an environment of their own: Flower wants older typer, rich and fastapi than our pins.
FLOWER := .venv-federated
federated: $(FLOWER)/ready
	OMP_NUM_THREADS=1 $(FLOWER)/bin/pytest tests/federated tests/e2e/test_federated.py

# The documentation as a site in site/, in an environment of its own; it stops at a link that leads nowhere.
DOCS := .venv-docs
docs: $(DOCS)/ready
	$(DOCS)/bin/mkdocs build --strict --quiet
	@echo "Open site/index.html"

$(DOCS)/ready: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip --quiet --disable-pip-version-check install "mkdocs-material>=9.7,<10" "mkdocstrings[python]>=1.0,<2"
	touch $@

$(FLOWER)/ready: pyproject.toml
	$(PYTHON) -m venv $(FLOWER)
	$(FLOWER)/bin/python -m pip --quiet --disable-pip-version-check install -e ".[dev,federated]"
	touch $@

setup: $(VENV)/ready-dev

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install -c constraints.txt

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e ".[serve]"
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(PIP) -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(FLOWER) $(DOCS) site runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

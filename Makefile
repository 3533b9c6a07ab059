# Two commands do everything from a fresh clone: `make demo` and `make test`. Both use .venv, which they create.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -q -c constraints.txt
ENGINES ?= $(patsubst tests/engines/test_%.py,%,$(wildcard tests/engines/test_*.py))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.NOTPARALLEL: # two installations into one environment must not run at once
.PHONY: help demo baseline check-quality test test-engines lint format cuda-check setup-demo setup-test clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup-demo ## Compare beam search and sampling on the packaged model; prints the table and where the report is
	$(BIN)/python -m decodebench -m strategy=beam,sample

baseline: setup-demo ## Keep the README's run, results/reference, as the baseline that a check holds later runs against
	$(BIN)/python -m decodebench baseline results/reference -o baselines/reference

check-quality: setup-demo ## Decode the configuration of the README's run again, and hold it against the committed baseline
	rm -rf results/reference-check
	HF_HUB_OFFLINE=1 $(BIN)/python -m decodebench check --run --against baselines/reference

test: lint ## Run the checks and all tests in two processes, without a network once set up
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=25

# Each engine that has tests gets an environment of its own: what they need of torch and transformers differs.
test-engines: setup-test $(ENGINES:%=.venv-engines/%.stamp) ## Hold the tables of the engines where models are served against these engines (ENGINES=... for some)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 \
	  $(foreach engine,$(ENGINES),DECODEBENCH_$(shell tr a-z A-Z <<< $(engine))_PYTHON=$(CURDIR)/.venv-engines/$(engine)/bin/python) \
	  $(BIN)/python -m pytest --durations=10 tests/engines

lint: setup-test ## Run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup-test ## Let ruff format the code, and repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# For a GPU machine without a network: its own Python with torch >= 2.11 and transformers >= 5.17 is used as it is.
cuda-check: ## On a GPU machine: parity tests, then the sweep on a random GPT-J 6B (WHEELS=folder installs what is missing)
	@if [ -n "$(WHEELS)" ]; then $(PYTHON) -m pip install -q --no-index --find-links "$(WHEELS)" "$(WHEELS)"/*.whl; fi
	$(PYTHON) -c 'import torch; assert torch.cuda.is_available(), "this machine has no usable GPU"'
	PYTHONPATH=src $(PYTHON) -m pytest -q --noconftest tests/engine/test_cuda.py
	PYTHONPATH=src $(PYTHON) benchmarks/sweep.py --random gptj_6b --dtype float16 --no-loop --json cuda-sweep.json

setup-demo: $(VENV)/demo.stamp ## Install the package with the demo's model

setup-test: $(VENV)/test.stamp ## Install the package with the demo's model and the test tools

clean: ## Remove .venv and the caches of the tools; results stay
	rm -rf $(VENV) .venv-engines .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# A stamp says that an installation was completed, so that the next call skips it until its inputs change.
$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "decodebench needs Python 3.11 or newer, and '$(PYTHON)' is not one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q -U pip
	@touch $@

$(VENV)/demo.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "Installing decodebench and its demo model into $(VENV) (a few minutes the first time)"
	@$(PIP_INSTALL) -e '.[demo]'
	@touch $@

# The extra `test` includes `demo`: what is set up for the tests is set up for the demo too.
$(VENV)/test.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	@echo "Installing decodebench, its demo model and the test tools into $(VENV) (a few minutes the first time)"
	@$(PIP_INSTALL) -e '.[test]'
	@touch $(VENV)/demo.stamp $@

.venv-engines/%.stamp: tests/engines/requirements/%.txt $(VENV)/python.stamp
	@echo "Installing $* into .venv-engines/$* (a few minutes the first time)"
	@$(PYTHON) -m venv --clear .venv-engines/$*
	@.venv-engines/$*/bin/python -m pip install -q -r $<
	@unwanted=$$(sed -n 's/^# without: //p' $<); \
	  if [ -n "$$unwanted" ]; then .venv-engines/$*/bin/python -m pip uninstall -q -y $$unwanted; fi
	@touch $@

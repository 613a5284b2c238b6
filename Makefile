# Everything from a fresh machine: `make demo` or `make test`. PYTHON picks the Python (3.10 or newer), VENV the environment.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# Tiny tensors: more threads only wait for each other.
TEST_ENV = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
ARGS ?=
# Test processes; a file stays in one of them.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-audiocraft lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile

setup:  ## .venv with everything in it; instant when nothing changed
	@$(PYTHON) .ci/install.py $(VENV)

demo: setup  ## prepare the breaks, train a small LM on them, export, sample: WAV files, a picture, numbers
	@$(RUN) -m audiocraft_ext.demo $(ARGS)

test: setup  ## the fast test suite (ARGS="-k store" passes options to pytest)
	@$(TEST_ENV) $(RUN) -m pytest -q -n $(JOBS) --dist loadfile -m "not slow and not gpu" $(ARGS)

test-audiocraft: setup  ## audiocraft's own test suite, under our compat layer
	@$(TEST_ENV) $(RUN) -m tests.audiocraft_suite $(ARGS)

lint: setup  ## ruff
	@$(RUN) -m ruff check .

clean:  ## remove the environment and what tests and builds leave behind (stores and runs stay)
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything from a fresh machine: `make demo` or `make test`. PYTHON picks the Python (3.10 or newer), VENV the environment.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# The tensors are tiny: more threads would only wait for each other.
TEST_ENV = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
ARGS ?=
# Number of test processes. Each test file runs in one of them, the longest files first (marked `early`).
JOBS ?= 2
PYTEST = $(TEST_ENV) $(RUN) -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Marks of the tests that `make test` leaves out, `make test-rest` runs and `make test-all` includes.
REST = cluster or browser or processes or peers
# Where `make bench` saves, and the trained model and token store on which it measures int8 and int4.
BENCH ?= docs/bench.json
MODEL ?= audiocraft_ext/bundles/embedded
STORE ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-drums demo-notes demo-songs page studio test test-rest test-all test-audiocraft bench lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile

setup:  ## .venv with everything in it; instant when nothing changed
	@$(PYTHON) .ci/install.py $(VENV)

demo: setup  ## prepare the breaks, train a small LM on them, export, sample: WAV files, a picture, numbers
	@$(RUN) -m audiocraft_ext.audio.demo $(ARGS)

demo-drums: setup  ## the same for drums: MIDI performances in, MIDI files, a WAV of each and piano rolls out
	@$(RUN) -m audiocraft_ext.drums.demo $(ARGS)

demo-notes: setup  ## the same for songs: MIDI of several instruments in, MIDI files and piano rolls out
	@$(RUN) -m audiocraft_ext.notes.demo $(ARGS)

demo-songs: setup  ## the same for BeepBox: the same MIDI in, BeepBox's JSON, URLs, MIDI files and piano rolls out
	@$(RUN) -m audiocraft_ext.songs.demo $(ARGS)

page: setup  ## out/page: instruments that play in a browser, offline (ARGS="out/mine --bundles my/jungle,drums")
	@$(RUN) -m audiocraft_ext.page.build $(ARGS)

studio: setup  ## the same page with this machine behind it: data, training, batches (ARGS="my/music --no-browser")
	@$(RUN) -m audiocraft_ext.studio $(ARGS)

test: setup  ## the fast test suite (ARGS="-k store" passes options to pytest)
	@$(PYTEST) -m "not slow and not gpu and not ($(REST))" $(ARGS)

# One process more: the Slurm tests mostly wait.
test-rest: JOBS = 3
test-rest: setup  ## the tests that `make test` leaves out: Slurm, a browser, many processes, audiocraft and transformers as peers
	@$(PYTEST) -m "not slow and not gpu and ($(REST))" $(ARGS)

test-all: setup  ## `make test` and `make test-rest`
	@$(PYTEST) -m "not slow and not gpu" $(ARGS)

test-audiocraft: setup  ## audiocraft's own test suite, under our compat layer
	@$(TEST_ENV) $(RUN) -m tests.helpers.audiocraft_suite $(ARGS)

bench: setup  ## speed and size beside peers, and the plots; needs a quiet machine (ARGS=--quick BENCH=out/bench.json tries it)
	@$(RUN) -m benchmarks.sampling.cold_boot --save $(BENCH) $(ARGS)
	@$(RUN) -m benchmarks.sampling.decode --save $(BENCH) $(ARGS)
	@$(if $(STORE),$(RUN) -m benchmarks.sampling.precision $(MODEL) $(STORE) --save $(BENCH) $(ARGS),\
		echo "what int8 and int4 cost is left out; it needs a store: make bench MODEL=my/jungle STORE=stores/jungle")
	@$(RUN) -m benchmarks.common.plots $(BENCH) -o $(dir $(BENCH))

lint: setup  ## ruff
	@$(RUN) -m ruff check .

clean:  ## remove the environment and what tests and builds leave behind (stores and runs stay)
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

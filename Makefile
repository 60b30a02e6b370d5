PYTHON ?= python3
PORT ?= 8000
export PORT
PY = .venv/bin/python

# A test file stays with one worker; each worker has its own Redis and database.
WORKERS = -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: up test test-slow test-cluster chaos smoke bench screenshots lint format help
.DEFAULT_GOAL := up

help: ## list what make can do
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'

# The start time, so that the total printed at the end includes the installation.
up: export BEGAN := $(shell date +%s)
up: .venv/installed ## install and start everything on this machine
	@exec $(PY) -m gateway_project.up

test: .venv/installed-dev ## run the fast tests (ARGS=… for some of them)
	$(PY) -m pytest $(WORKERS) -m "not slow and not chaos" $(ARGS)

test-slow: .venv/installed-dev ## run the tests that damage an installation or go through every page
	$(PY) -m pytest $(WORKERS) -m "slow and not chaos" $(ARGS)

# Compile the code once, not in every process that starts.
up test test-slow: export PYTHONDONTWRITEBYTECODE =

test-cluster: .venv/installed-dev ## run the meter's tests on a Redis Cluster
	TEST_REDIS=cluster $(PY) -m pytest tests/billing tests/proxy tests/tenants $(ARGS)

chaos: .venv/installed-dev ## break everything on purpose, compare the books, write docs/reliability.md
	CHAOS_REPORT=docs/reliability.md $(PY) -m pytest tests/chaos -m "stack or chaos" $(ARGS)

# Runs in its own folder and environment; ARGS="defaults" runs one round only.
smoke: ## try the product as installed: base requirements, every process, every interface
	@$(PYTHON) -m tests.smoke $(ARGS)

bench: .venv/installed-dev ## compare performance with a bare proxy (ten minutes)
	$(PY) -m bench

screenshots: .venv/installed-dev ## take the screenshots for the docs again
	$(PY) -m tests.browser.screenshots

lint: .venv/installed-dev ## check style, types, imports and dependencies
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	DEBUG=1 $(PY) -m mypy .
	DEBUG=1 .venv/bin/lint-imports
	.venv/bin/deptry .

format: .venv/installed-dev ## fix what can be fixed automatically
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; choose one: make up PYTHON=python3.12")'
	@echo "  Creating .venv …"
	@$(PYTHON) -m venv .venv

.venv/installed: requirements/base.txt | .venv/bin/python
	@$(PY) requirements/install.py base
	@touch $@

.venv/installed-dev: requirements/dev.txt .venv/installed
	@$(PY) requirements/install.py dev
	@touch $@

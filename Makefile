PYTHON ?= python3
PORT ?= 8000
export PORT
PY = .venv/bin/python

# A test file stays with one worker; each worker has a Redis and a database of its own.
WORKERS = -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: up test test-slow test-cluster chaos smoke bench screenshots lint format help
.DEFAULT_GOAL := up

help: ## list what make can do
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'

# When it began, so that what is said at the end counts the installation too.
up: export BEGAN := $(shell date +%s)
up: .venv/installed ## install and start everything on this machine
	@exec $(PY) -m gateway_project.up

test: .venv/installed-dev ## run the fast tests (ARGS=… for some of them)
	$(PY) -m pytest $(WORKERS) -m "not slow and not chaos" $(ARGS)

test-slow: .venv/installed-dev ## run the tests that hurt an installation or go through every page
	$(PY) -m pytest $(WORKERS) -m "slow and not chaos" $(ARGS)

# Compiled once, and not by every process that is started.
up test test-slow: export PYTHONDONTWRITEBYTECODE =

test-cluster: .venv/installed-dev ## run the meter's tests on a Redis Cluster
	TEST_REDIS=cluster $(PY) -m pytest tests/billing tests/proxy tests/tenants $(ARGS)

chaos: .venv/installed-dev ## break everything on purpose, compare the books, write docs/reliability.md
	CHAOS_REPORT=docs/reliability.md $(PY) -m pytest tests/chaos -m "stack or chaos" $(ARGS)

# In a folder and an environment of its own; ARGS="defaults" or another round alone.
smoke: ## try the product as installed: base requirements alone, every process, every door
	@$(PYTHON) -m tests.smoke $(ARGS)

bench: .venv/installed-dev ## measure beside a bare proxy (ten minutes)
	$(PY) -m bench

screenshots: .venv/installed-dev ## take the pictures of the docs again
	$(PY) -m tests.browser.screenshots

lint: .venv/installed-dev ## check style, types, imports and dependencies
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	DEBUG=1 $(PY) -m mypy .
	DEBUG=1 .venv/bin/lint-imports
	.venv/bin/deptry .

format: .venv/installed-dev ## mend what can be mended by itself
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; say which: make up PYTHON=python3.12")'
	@echo "  Creating .venv …"
	@$(PYTHON) -m venv .venv

.venv/installed: requirements/base.txt | .venv/bin/python
	@$(PY) requirements/install.py base
	@touch $@

.venv/installed-dev: requirements/dev.txt .venv/installed
	@$(PY) requirements/install.py dev
	@touch $@

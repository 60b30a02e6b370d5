PYTHON ?= python3
PORT ?= 8000
export PORT
PY = .venv/bin/python

# A test file stays with one worker; each worker has a Redis and a database of its own.
WORKERS = -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: up test test-slow test-cluster chaos smoke bench screenshots lint format
.DEFAULT_GOAL := up

up: .venv/installed
	@exec $(PY) -m gateway_project.up

test: .venv/installed-dev
	$(PY) -m pytest $(WORKERS) -m "not slow and not chaos" $(ARGS)

test-slow: .venv/installed-dev
	$(PY) -m pytest $(WORKERS) -m "slow and not chaos" $(ARGS)

# Compiled once, and not by every process that a test starts.
test test-slow: export PYTHONDONTWRITEBYTECODE =

test-cluster: .venv/installed-dev
	TEST_REDIS=cluster $(PY) -m pytest tests/billing tests/proxy tests/tenants $(ARGS)

chaos: .venv/installed-dev
	CHAOS_REPORT=docs/reliability.md $(PY) -m pytest tests/chaos -m "stack or chaos" $(ARGS)

# The product as installed, in a folder and an environment of its own; ARGS="defaults" or another round alone.
smoke:
	@$(PYTHON) -m tests.smoke $(ARGS)

bench: .venv/installed-dev
	$(PY) -m bench

screenshots: .venv/installed-dev
	$(PY) -m tests.browser.screenshots

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	DEBUG=1 $(PY) -m mypy .
	.venv/bin/deptry .

format: .venv/installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; say which: make up PYTHON=python3.12")'
	@echo "  Creating .venv …"
	@$(PYTHON) -m venv .venv

.venv/installed: requirements/base.txt | .venv/bin/python
	@echo "  Installing (a minute or so, once) …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	@touch $@

.venv/installed-dev: requirements/dev.txt .venv/installed
	@echo "  Installing what tests and checks need …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

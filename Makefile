# Every target sets up what it needs; nothing but Python 3.11+, git and make has to be there.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# A file is run whole by one worker, with servers of its own; the longest files are named first.
WORKERS ?= 3
PYTEST = $(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo up down test check format lint types imports unit contract integration kafka azurite bench-detection bench-routing bench-pipeline bench-latency bench-api bench-spend test-faults lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## create .venv and install everything from the hash-locked file

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@$(BIN)/python -m detectors.warm
	@touch $@

demo: setup ## the whole product on this machine, with sample data (ONCE=1 ends after the replay)
	@$(BIN)/spendwatch demo $(if $(ONCE),--once)

up: setup ## the distributed service on this machine: Kafka, workers, rollups, router, notifier, API (needs Java, Maven)
	@exec $(BIN)/python deploy/up.py $(if $(EXPORTS),--exports $(EXPORTS)) $(if $(FOLDER),--folder $(FOLDER))

down: setup ## end what make up started from this checkout
	@$(BIN)/python deploy/up.py --down

test: format lint types imports ## every test that CI runs
	$(PYTEST) --durations 15 tests/faults tests/e2e tests/integration tests/benchmarks tests/contract tests/unit service detectors

check: format lint types imports unit ## format, lint, types, import contracts, unit tests

format: setup
	$(BIN)/ruff format --check .

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

unit: setup ## unit tests and doctests: no I/O, seconds
	$(PYTEST) tests/unit service detectors -m "not slow"

contract: setup ## tests that run over every plugin
	$(PYTEST) tests/contract

integration: setup ## real servers on loopback, the real browser, the real commands
	$(PYTEST) tests/faults tests/e2e tests/integration tests/benchmarks

kafka: ## fetch Apache Kafka for the tests, once (needs Java 17 and Maven)
	@deploy/kafka/start.sh fetch

azurite: ## fetch Azurite for the tests of Azure Blob Storage, once (needs Node.js and npm)
	@test tests/azurite/node_modules/.package-lock.json -nt tests/azurite/package-lock.json || \
		npm ci --prefix tests/azurite --ignore-scripts --no-audit --no-fund --loglevel error

test-faults: setup ## the promise under faults, the long form, as a table (KILLS=n: rounds until so many)
	@$(BIN)/python -m tests.faults $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

bench-detection: setup ## detection figures beside named peers, into docs/detection.md (QUICK=1: printed only)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m tests.benchmarks.detection $(if $(QUICK),--quick)

bench-routing: setup ## how much people hear of a month with 24 known incidents, by three policies (SEED=n, SEED=sample)
	$(BIN)/python -m tests.benchmarks.routing $(SEED)

bench-pipeline: setup ## events a second and core, beside peers, and as series grow (EVENTS=n, SERIES="n ...")
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BIN)/python -m tests.benchmarks.pipeline $(EVENTS)
	$(BIN)/python -m tests.benchmarks.pipeline $(EVENTS) --growth $(or $(SERIES),10000 100000 1000000)

bench-latency: setup ## seconds from a row in the broker to its notice, and to catch up after ten minutes (SECONDS=n)
	$(BIN)/python -m tests.benchmarks.latency $(if $(SECONDS),--seconds $(SECONDS))

bench-api: setup ## p50 and p99 of each route, beside Alertmanager (REQUESTS=n; needs prometheus-alertmanager)
	$(BIN)/python -m tests.benchmarks.api $(REQUESTS)

bench-spend: setup ## how long spend over two weeks of 100,000 series takes to add up
	$(BIN)/python -m tests.benchmarks.spend

lock: ## write the lock files anew (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -q -c requirements.lock -o requirements-dev.lock
	uv pip compile pyproject.toml --extra bench --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -q -c requirements-dev.lock -o requirements-bench.lock

clean: ## remove what was made
	rm -rf .venv build var *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

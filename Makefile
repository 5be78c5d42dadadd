# `make` alone lists what there is. PYTHON=... chooses the interpreter of the virtual environment.
PYTHON ?= python3
BIN := .venv/bin
TEST_STATE := .fleetwide/test
# Three processes share the suite: half of its time is waiting for servers. tests/platforms.py says
# which tests stay together, longest first.
TOGETHER = -n 3 --dist loadgroup --no-loadscope-reorder --durations 40
FIGURES = $(if $(only),benchmarks/$(only).py,$(shell grep -l __main__ benchmarks/*.py))

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench down histories lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing: system packages and the virtual environment
	@$(PYTHON) scripts/setup.py

demo: setup ## Start the development platform and run the main job on it
	@$(BIN)/fleetwide dev up
	@$(BIN)/fleetwide demo

down: ## Stop all that was started here, and nothing else
	@if [ -x $(BIN)/fleetwide ]; then $(BIN)/fleetwide dev down; else echo "nothing was set up"; fi

test: setup ## Check style, types, imports, then run the whole suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	@# Only the Docker daemon, and only where none answers; the tests bring the rest themselves.
	@trap '$(BIN)/fleetwide dev down --state-dir $(TEST_STATE)' EXIT; \
	$(BIN)/fleetwide dev up dockerd --state-dir $(TEST_STATE) && \
	$(BIN)/python scripts/run_tests.py $(TOGETHER)

bench: setup ## Run every benchmark, or one: make bench only=NAME
	@set -e; for file in $(FIGURES); do \
	  [ -f "$$file" ] || { echo "no such benchmark: $$file" >&2; exit 2; }; \
	  echo "== $$file" >&2; $(BIN)/python "$$file"; \
	done

histories: setup ## Record the golden histories anew, after a wanted change of commands
	$(BIN)/python -m tests.replay.record

lock: setup ## Write requirements.lock anew from pyproject.toml
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate \
	  --group dev --all-extras pyproject.toml -o requirements.lock

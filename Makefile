# Everything runs from .venv, which the first target that needs it makes: Python >= 3.11 and make
# are enough. ARGS="…" is handed to the program behind a target. `make help` lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
# Two stamps, two sets of packages: what runs, and what tests on top of it.
RUN := .venv/.run
TEST := .venv/.test
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

# ---- run it

.PHONY: demo up
demo: $(RUN) ## Watch real events become results while processes are killed
	$(BIN)/caseworks demo $(ARGS)

up: $(RUN) ## Start Kafka, coordinator and workers; Ctrl-C stops everything
	$(BIN)/caseworks up $(ARGS)

# ---- check it

.PHONY: check test-fast test test-deploy test-browser
check: $(TEST) ## Format, lint, types, architecture, schema drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -q tests/architecture
	$(BIN)/caseworks schemas check

test-fast: $(TEST) ## Unit, contract on the memory broker, simulation smoke: under 30 s
	$(PYTEST) -q -n 2 -m "not browser and not kafka and not e2e and not slow" $(ARGS)

test: $(TEST) ## Everything but the browser, on a local Apache Kafka that it starts itself
	$(PYTEST) -m "not browser" $(ARGS)

test-deploy: $(TEST) ## Compose file, image and alert rules (needs promtool, else skips)
	$(PYTEST) tests/deploy $(ARGS)

test-browser: $(TEST) ## The console in a browser (needs chromium, else skips)
	$(PYTEST) tests/browser $(ARGS)

# ---- measure it

.PHONY: bench chaos eval fuzz test-interop
bench: $(TEST) ## Throughput and latency beside a bare loop in the same run
	$(BIN)/python -m benchmarks.compare $(ARGS)

chaos: $(TEST) ## Kill, pause and partition processes under load (--list, --only NAME)
	$(BIN)/python -m tests.chaos $(ARGS)

eval: ## Accuracy on labelled data
	$(not-yet)

fuzz: ## Hostile input until the time is up
	$(not-yet)

test-interop: ## Workers in other languages on the wire contract
	$(not-yet)

define not-yet
@echo "$@: not yet built" >&2; exit 2
endef

# ---- keep house

.PHONY: lock clean
lock: ## Write the lock files from pyproject.toml (ARGS=--upgrade for newer versions)
	tools/lock $(ARGS)

clean: ## Remove what the tools left behind (.venv and .caseworks stay)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# ---- the environment

# The stamp holds the folder it was made in; a copy of the tree with its .venv starts anew.
ifneq ($(shell cat $(RUN) 2>/dev/null),$(realpath .))
.PHONY: $(RUN)
endif

$(RUN): requirements.lock pyproject.toml
	@tools/venv requirements.lock $@

$(TEST): requirements-test.lock $(RUN)
	@tools/venv requirements-test.lock $@

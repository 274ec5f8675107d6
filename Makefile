# Needs make and Python 3.11 or newer, and nothing else. `make` alone lists what there is.

PYTHON ?= python3
PORT   ?= 8000
ARGS   ?=

BIN     := .venv/bin
RUNTIME := .venv/runtime.stamp
DEV     := .venv/dev.stamp
PIP     := -m pip --quiet --disable-pip-version-check
# Every package is listed, so nothing is to be resolved: older pips would look at releases that are not pinned.
PINNED  := install --no-deps --require-hashes --requirement

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve install test live letta letta-env lint format-check ruff types law check format coverage bench bench-letta lock sdks clients clean

help: ## List what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

serve: $(RUNTIME) ## Install and start the gateway on 127.0.0.1 (PORT=8000, ARGS=...)
	$(BIN)/librarian serve --port $(PORT) $(ARGS)

install: $(DEV) ## Install the gateway and what its checks need into .venv

test: $(DEV) sdks ## Install and run the tests (ARGS=...)
	$(BIN)/python -m pytest $(ARGS)

live: letta-env ## Run the tests that need a real Letta server; they start it (1.2 GB, ARGS=...)
	LIBRARIAN_REQUIRE_LETTA=1 $(BIN)/python -m pytest -m live $(ARGS)

letta: $(DEV) ## Start a real Letta server on 127.0.0.1:8283, with a model that echoes (ARGS=...)
	$(BIN)/python -m scripts.letta $(ARGS)

letta-env: $(DEV)
	$(BIN)/python -m scripts.letta --prepare

lint: format-check ruff types law ## Check format, lint, types and the law of imports

format-check: $(DEV)
	$(BIN)/ruff format --check .

ruff: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

law: $(DEV)
	$(BIN)/lint-imports

check: lint test ## Everything that has to be green

format: $(DEV) ## Format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: $(DEV) sdks ## Run the tests and show what they leave out
	$(BIN)/python -m pytest --cov --cov-report=term-missing $(ARGS)

bench: $(RUNTIME) ## Measure the gateway beside a plain pass-through (ARGS=...)
	$(BIN)/python bench/run.py $(ARGS)

bench-letta: letta-env ## Measure the gateway beside a Letta server, which it starts (1.2 GB, ARGS=...)
	PYTHONPATH=. $(BIN)/python bench/letta.py $(ARGS)

sdks: .venv-openai2/made.stamp .venv-openai3/made.stamp ## Make an environment for each line of the official client

clients: $(DEV) ## Record again what real clients ask, in .venv-clients (up to 3 GB, ARGS=...)
	$(BIN)/python -m scripts.clients $(ARGS)

# Versions less than a week old are left alone; UPGRADE=--upgrade moves the others on.
LOCK = .venv-lock/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --exclude-newer "7 days" $(UPGRADE)
lock: .venv-lock/made.stamp ## Pin the requirements again (UPGRADE=--upgrade)
	$(LOCK) requirements/build.in --output-file requirements/build.txt
	$(LOCK) pyproject.toml --constraint requirements/build.txt --output-file requirements/runtime.txt
	$(LOCK) pyproject.toml requirements/dev.in --constraint requirements/build.txt \
		--constraint requirements/runtime.txt --output-file requirements/dev.txt
	$(LOCK) requirements/openai2.in --output-file requirements/openai2.txt
	$(LOCK) requirements/openai3.in --output-file requirements/openai3.txt
	$(subst "7 days",2026-05-20,$(LOCK)) requirements/letta.in --output-file requirements/letta.txt

clean: ## Remove the environments and what the tools left behind
	rm -rf .venv .venv-openai2 .venv-openai3 .venv-lock .venv-letta .venv-clients .letta build dist .coverage .coverage.* htmlcov
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# An environment keeps its stamp inside, so that one that is gone is made again.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: name a newer one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(1)
endef

$(RUNTIME): requirements/build.txt requirements/runtime.txt pyproject.toml
	$(call make_venv,.venv)
	$(BIN)/python $(PIP) $(PINNED) requirements/build.txt --requirement requirements/runtime.txt
	$(BIN)/python $(PIP) install --no-deps --no-index --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	$(BIN)/python $(PIP) $(PINNED) requirements/dev.txt
	@touch $@

.venv-openai%/made.stamp: requirements/openai%.txt
	$(call make_venv,$(@D))
	$(@D)/bin/python $(PIP) $(PINNED) $<
	@touch $@

.venv-lock/made.stamp:
	$(call make_venv,$(@D))
	$(@D)/bin/python $(PIP) install uv
	@touch $@

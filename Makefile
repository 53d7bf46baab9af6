# What a person types. `make run` and `make test` do all the set-up they need; `make setup` alone does just that.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: run test check faults bench setup lock sdl clean
.DEFAULT_GOAL := run

run: setup
	@exec $(BIN)/python -m server.local

# Two files at a time, for most of their tests wait for something.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

# What may break and must lose nothing, for longer than `make test` has time for.
faults: setup
	FAULT_SECONDS=60 FAULT_KILLS=20 FAULTS=all $(BIN)/python -m pytest tests/blackbox/test_nothing_lost.py \
		tests/blackbox/test_feed.py tests/blackbox/test_admin_faults.py tests/blackbox/test_admin_kills.py \
		tests/blackbox/test_tokens.py tests/blackbox/test_waking.py tests/blackbox/test_database_failures.py \
		tests/blackbox/test_secondaries.py tests/blackbox/test_shutdown.py

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Four minutes, and one more the first time, which loads 1.5 million orders; a machine with nothing else to do is best.
bench: setup
	@exec $(BIN)/python -m tests.bench

# Without npm everything but GraphiQL works, and its page says how to get it.
setup: $(STAMP)
	@$(BIN)/python -m server.vendor --optional

$(STAMP): requirements.txt requirements-local.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing packages, once; this takes half a minute."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# The pins, after a change of pyproject.toml. For a Databricks App requirements.txt alone is what is installed.
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --allow-unsafe $(UPGRADE)
lock: $(STAMP)
	$(PIP_COMPILE) --output-file requirements.txt pyproject.toml
	$(PIP_COMPILE) --extra local --constraint requirements.txt --output-file requirements-local.txt pyproject.toml
	$(PIP_COMPILE) --extra otel --constraint requirements.txt --output-file requirements-otel.txt pyproject.toml
	$(PIP_COMPILE) --extra local --extra otel --extra dev --constraint requirements-local.txt --constraint requirements-otel.txt --output-file requirements-dev.txt pyproject.toml

# schema.graphql, after a change of the schema that is meant.
sdl: setup
	$(BIN)/python -m schema > schema/schema.graphql

clean:
	rm -rf .venv .local server/static/vendor tests/clients/node_modules

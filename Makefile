# The developer's commands. `make run` and `make test` do the set-up that they need; `make setup` does only the set-up.
PYTHON ?= python3
BIN := .venv/bin
GRAPHIQL := server/graphql/graphiql
STAMP := .venv/.installed
BENCH_STAMP := .venv/.bench-installed
AUDIT_STAMP := .venv/.audit-installed
# A file that differs from the pinned one is not installed.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
SDK_NEWEST := .local/sdk-newest

.PHONY: run test check sdk-newest faults soak bench bench-memory load hostile setup lock sbom audit sdl clean
.DEFAULT_GOAL := run

run: setup
	@exec $(BIN)/python -m server.local

# Three files at a time, because most tests wait for something. No test depends on time, so it passes on any machine.
test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile

# Fault injection, and every promised time (tests/support/calibration.py). It takes an hour, on a machine with nothing else to do.
# At the end it shows the times and the scorecard, which it also writes to .local/scorecard.md.
faults: setup
	FAULT_SECONDS=60 FAULT_KILLS=20 FAULTS=all DIFFERENCES=20000 GENERATED=5000 \
		$(BIN)/python -m pytest -m "long or faults"

# Random faults, one every half minute. `make soak SOAK_SECONDS=300 SOAK_SEED=7` takes five minutes, and repeats the run
# of that seed.
soak: setup
	@exec $(BIN)/python -m tests.faults.soak

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the local platform serves, against the newest SDK instead of the pinned one. That is in an environment of its own,
# which finds everything else in .venv.
sdk-newest: setup
	@$(BIN)/python -m venv --clear $(SDK_NEWEST)
	@$(SDK_NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check databricks-sdk
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		>"$$($(SDK_NEWEST)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rest.pth"
	@$(SDK_NEWEST)/bin/python -c 'from databricks.sdk.version import __version__; print("databricks-sdk", __version__)'
	$(SDK_NEWEST)/bin/python -m pytest -p no:cacheprovider tests/local/platform/test_contract.py

# Fourteen minutes, and two more the first time, which installs the other servers and loads 1.5 million orders. A machine
# with nothing else to do is best. `make bench ARGUMENTS="--only pages --rounds 7"` runs a part of it, `--only nested` the
# nested pages, and `make bench SCALES="0.1 1 10"` compares tables of these sizes too; the last takes 5 GB and four minutes
# the first time, and nested pages leave it out.
bench: $(BENCH_STAMP)
	@SCALES="$(SCALES)" exec $(BIN)/python -m tests.bench $(ARGUMENTS)

# The memory of a process while it serves 300,000 pages of 100 orders, twice. It takes six minutes.
bench-memory: $(BENCH_STAMP)
	@exec $(BIN)/python -m tests.bench --only memory --contenders ours

# Twice the load that the server can handle, for a minute, and 500 trickling clients, on a machine with nothing else to do.
load: setup
	@exec $(BIN)/python -m tests.load $(ARGUMENTS)

# Attacks of all kinds for five minutes beside ordinary callers, on a machine with nothing else to do.
# `make hostile ARGUMENTS="--seconds 30 --only deflate,pages --set RATE_LIMIT=20000"` makes some of them, with a setting.
hostile: setup
	@exec $(BIN)/python -m tests.load.hostile $(ARGUMENTS)

# Without npm everything but GraphiQL works. GraphiQL's page then says how to get it.
setup: $(STAMP)
	@$(BIN)/python -m server.graphql.graphiql.vendor --optional

$(STAMP): requirements.txt requirements-local.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing packages, once; this takes half a minute."
	@$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

$(BENCH_STAMP): $(STAMP) requirements-bench.txt
	@echo "Installing the packages of the benchmark, once."
	@$(PIP_INSTALL) -r requirements-bench.txt
	@touch $@

$(AUDIT_STAMP): $(STAMP) requirements-audit.txt
	@echo "Installing the packages of the audit, once."
	@$(PIP_INSTALL) -r requirements-audit.txt
	@touch $@

# Pins the dependencies and the hashes of their files, for every platform, after a change of pyproject.toml. A Databricks
# App installs only requirements.txt, and checks the hashes because they are there.
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --allow-unsafe $(UPGRADE)
lock: $(STAMP)
	$(PIP_COMPILE) --output-file requirements.txt pyproject.toml
	$(PIP_COMPILE) --extra local --constraint requirements.txt --output-file requirements-local.txt pyproject.toml
	$(PIP_COMPILE) --extra otel --constraint requirements.txt --output-file requirements-otel.txt pyproject.toml
	$(PIP_COMPILE) --extra local --extra otel --extra dev --constraint requirements-local.txt --constraint requirements-otel.txt --output-file requirements-dev.txt pyproject.toml
	@# pip-compile drops the condition of an extra's package.
	sed 's/^libfaketime==[^ ]*/& ; sys_platform == "linux" and platform_machine == "x86_64"/' requirements-dev.txt >requirements-dev.tmp
	mv requirements-dev.tmp requirements-dev.txt
	$(PIP_COMPILE) --extra bench --constraint requirements-dev.txt --output-file requirements-bench.txt pyproject.toml
	$(PIP_COMPILE) --extra audit --constraint requirements-dev.txt --output-file requirements-audit.txt pyproject.toml

# What the server consists of, as CycloneDX: its Python packages, and those of the GraphiQL page.
sbom: $(AUDIT_STAMP)
	@mkdir -p .local/sbom
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-file .local/sbom/python.json requirements.txt
	npm sbom --prefix $(GRAPHIQL) --package-lock-only --sbom-format cyclonedx >.local/sbom/graphiql.json

# Looks every pinned version up in the registries' lists of vulnerabilities, which needs a network.
audit: $(AUDIT_STAMP)
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes $(addprefix --requirement ,$(wildcard requirements*.txt)) \
		&& npm audit --prefix $(GRAPHIQL) --package-lock-only \
		|| (echo "The audit failed: a version is vulnerable, or a list of vulnerabilities cannot be read. See above." >&2; exit 1)

# Prints the schema to schema.graphql, after an intended change.
sdl: setup
	$(BIN)/python -m schema > schema/schema.graphql

clean:
	rm -rf .venv .local server/graphql/graphiql/static/vendor tests/clients/node_modules tests/bench/peers/node_modules

# Innkeeper: the commands. `make help` lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
BOOTSTRAP := $(PYTHON) provisioning/environment/bootstrap.py
# What needs a service or a system package of its own comes with `make test`.
TIERS ?= -m "not tier"
# Two cores is what we plan for; more are used where they are. One more than cores: many a test waits for a wire.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))

# Property-based tests draw the same examples on every run of these targets; plain pytest explores.
export HYPOTHESIS_PROFILE ?= ci
# Images like to set this. Then each worker, and each program that a test starts, would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

# `make test` runs a few failures once more and names what was unsteady (tests/once_more.py); nothing else does.
PYTEST ?= -m pytest
ONCE_MORE := -m tests.once_more
# What runs beside the units: nothing, whatever the environment says, unless `make test` asks.
BESIDE :=
# The real programs and the browser wait for wires half of their time: they run while the others use the cores.
BESIDE_ALL := + tests/integration -p no:randomly + tests/e2e -p no:randomly

.DEFAULT_GOAL := help
.PHONY: help setup web demo test check bench format coverage-map lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: ## create .venv from the hashed lock (quick the second time)
	@$(BOOTSTRAP) environment

web: setup ## build the web workspace into cloud/web/dist and edge/web/dist
	@$(RUN) web/build.py

demo: setup web ## one small hotel, really running: plays the story, then stays up; ONCE=1 ends after the story
	@$(RUN) -m provisioning.cli rehearse aurora --state build/demo $(if $(ONCE),--once,)

test: setup web ## every test, all tiers that this machine allows
	@$(BOOTSTRAP) system chromium mosquitto dbus-daemon faketime
	@$(RUN) web/build.py --test
	@INNKEEPER_THOROUGH=1 $(MAKE) --no-print-directory check TIERS= PYTEST="$(ONCE_MORE)" BESIDE="$(BESIDE_ALL)"

check: setup ## format, lint, types, arrows, unit, contract and simulation tests; few seeds, no service (under 3 minutes)
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@mkdir -p build; { $(VENV)/bin/lint-imports && exec $(VENV)/bin/mypy; } >build/types.txt 2>&1 & aside=$$!; \
	  trap 'kill $$aside 2>/dev/null' INT TERM; \
	  $(RUN) $(PYTEST) -n $(WORKERS) --dist worksteal --ignore tests/integration --ignore tests/e2e $(TIERS) $(BESIDE); tests=$$?; \
	  wait $$aside; types=$$?; cat build/types.txt; exit $$((tests | types))

bench: setup ## measure; ONLY=ground|record_path|doors|doors_sure|devices|stays|rooms|api for one; writes build/bench/<name>.json
	@$(RUN) -m bench $(ONLY)

format: setup ## format and fix what can be fixed
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

coverage-map: setup ## guarantee and requirement -> tests
	@$(RUN) -m tests.coverage_map

lock: setup ## compile requirements/*.txt from pyproject.toml, hashed, without index addresses
	@for extras in edge,locks cloud dev; do name=$${extras%%,*}; \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header $$(echo --extra $$extras | sed 's/,/ --extra /g') pyproject.toml -o requirements/$$name.txt || exit 1; done

clean: ## remove what was built (not the virtual environment)
	@rm -rf build cloud/web/dist edge/web/dist .mypy_cache .ruff_cache .hypothesis

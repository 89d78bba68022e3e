# Every command of the project. `make demo` and `make test` each work alone on a fresh machine.
#
# A command that installs says what it does; everything lands in .venv and build/.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests often wait, for processes and browsers: two jobs more than there are processors keep these busy.
PYTEST_JOBS ?= $(shell expr $$(nproc) + 2)
FUZZ_SECONDS ?= 60
SOAK ?= --sessions 5000 --seconds 120
CHAOS ?= --minutes 5

# Where this is set, as in many an image, each process that a test starts would compile all of Bascule again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install develop compiler parts demo demo-jupyter test parts-if-possible test-fast check format shell \
        javascript types layers drift cover fuzz soak chaos bench bench-quick accept-arm accept-chart docs pictures lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@scripts/make-venv "$(PYTHON)" "$(VENV)"

# Stamps say what is in the environment; where there is none they say nothing, so no rule goes by them.
ifeq ($(wildcard $(BIN)/python),)
.PHONY: build/.installed build/.developed
endif

# The stamp is newer than what it was installed from; a changed lock or source of the extension installs again.
build/.installed: requirements/runtime.txt requirements/build.txt pyproject.toml setup.py src/bascule/forwarder/_hot.pyx $(wildcard src/bascule/forwarder/*.pxi) | $(BIN)/python
	@mkdir -p build
	@echo "Installing Bascule into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@$(BIN)/bascule --version
	@touch $@

build/.developed: requirements/dev.txt build/.installed
	@echo "Installing the developers' tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

install: build/.installed ## Make .venv with the command .venv/bin/bascule

develop: build/.developed ## The same with the developers' tools

parts: ## Install the real parts that tests talk to (JupyterLab, JupyterHub, Streamlit, nginx, HAProxy, Traefik, Prometheus, Chromium, podman, helm)
	@scripts/install-parts

demo: build/.installed ## Bascule with an embedded upstream and a page to try it on
	@exec $(BIN)/bascule demo

demo-jupyter: build/.installed ## The same with a real JupyterLab and Streamlit behind it
	@scripts/install-parts jupyter streamlit
	@echo "Starting JupyterLab and Streamlit"
	@exec $(BIN)/bascule demo --jupyter

# What cannot be installed (no root, no sudo, no network) skips the tests that need it; with CI=true it fails them.
WITHOUT := echo "Going on: tests that need what is missing say so"

# Both builds of the hot path are tested, so a compiler must be there before Bascule is installed.
compiler:
	@if PYTHON="$(PYTHON)" scripts/install-parts compiler; \
	  then ls src/bascule/forwarder/_hot.*.so >/dev/null 2>&1 || rm -f build/.installed; else $(WITHOUT); fi

# The checks need no part: they run while the parts are fetched.
test: compiler build/.developed ## Everything: checks and all tests, with real parts
	@$(MAKE) --no-print-directory -j parts-if-possible check
	@$(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadgroup $(PYTEST_ARGS)

parts-if-possible:
	@scripts/install-parts || $(WITHOUT)

test-fast: build/.developed ## The tests that need no real part
	@$(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadgroup -m "not real" $(PYTEST_ARGS)

check: build/.developed format shell javascript types layers drift ## What needs no running: format, lint, types, layers, generated files

format: build/.developed
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .

shell: build/.developed
	@$(BIN)/shellcheck $$(grep -lsE '^#!.*sh$$' .ci/* scripts/* scripts/container/*)

javascript: build/.developed
	@$(BIN)/oxlint --deny-warnings src examples

types: build/.developed
	@$(BIN)/mypy

layers: build/.developed
	@$(BIN)/lint-imports --no-cache | tail -n 4

drift: build/.developed
	@$(BIN)/python -m scripts.generated --check

cover: build/.developed ## Whether the pure packages' own tests run each of their lines and branches; a minute
	@$(BIN)/python -m coverage run -m pytest -q -m "not real" $(addprefix tests/,configuration handover policy protocol telemetry)
	@$(BIN)/python -m coverage report

fuzz: build/.developed ## A minute of coverage-guided fuzzing for each target
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "atheris>=3,<4"
	@for target in $(notdir $(wildcard fuzz/corpus/*)); do mkdir -p build/fuzz/$$target; \
	  $(BIN)/python -m fuzz.$$target build/fuzz/$$target fuzz/corpus/$$target -max_total_time=$(FUZZ_SECONDS) \
	    -artifact_prefix=build/fuzz/$$target- || exit 1; done

soak: build/.installed ## 5,000 idle sessions for two minutes; prints the memory of each
	@$(BIN)/python scripts/soak.py $(SOAK)

chaos: build/.developed ## Five minutes of traffic through a proxy whose processes die and hang; CHAOS='--variant tls --seed 4'
	@$(BIN)/python -m tests.chaos $(CHAOS)

accept-arm: build/.developed ## Build, push and run the image for arm64, with qemu where the processor is another; five minutes
	@scripts/install-parts podman arm64
	@BASCULE_TEST_ARCHITECTURE=arm64 CI=true $(BIN)/python -m pytest tests/docs/test_image.py

accept-chart: build/.developed ## Install, upgrade and roll back the chart on the cluster that KUBECONFIG names
	@scripts/install-parts helm
	@$(BIN)/python -m tests.chart.accept $(ACCEPT_ARGS)

bench: build/.developed ## The benchmark suite against its peers, about ten minutes
	@$(BIN)/python -m bench install && $(BIN)/python -m bench run --publish

bench-quick: build/.developed ## The same in about two minutes
	@$(BIN)/python -m bench install && $(BIN)/python -m bench run --quick

docs: build/.developed ## Regenerate what is generated
	@$(BIN)/python -m scripts.generated

pictures: build/.developed ## Take the pictures of the docs from the running product
	@$(BIN)/python -m scripts.pictures

lock: build/.developed ## Resolve the dependencies again
	@scripts/lock

clean: ## Remove what was built (not .venv)
	@rm -rf build dist *.egg-info src/*.egg-info src/bascule/forwarder/*.so

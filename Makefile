# Everything a person or a machine does with this repository. `make help` lists it.
#
# One environment, .venv, is made from hash-locked lists. Its stamps say which list it holds, so nothing is installed
# twice; the list for development contains the one for running.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The system's own Python first: a distribution builds it with the profile of real programs, which is worth a tenth to a
# third of irer's speed beside one that was built plainly (pyenv does unless told).
USABLE := -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(firstword $(foreach name,/usr/bin/python3.11 python3.11 python3,$(shell $(name) $(USABLE) 2>/dev/null && command -v $(name))) \
  $(shell command -v python3))
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEVELOP_STAMP := $(VENV)/.installed-develop
RUN_DIR := .irer
HASHED := PYTHONHASHSEED="$${PYTHONHASHSEED:-$$RANDOM}"
BESIDE := --numprocesses=2 --dist=loadfile --no-loadscope-reorder
INSTALL_SELF := PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .

.PHONY: help demo up down test check api bench campaign clean lock peers fast

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "irer needs Python 3.11 or newer; no python3 is on the PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "irer needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "== making the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "$(PYTHON) cannot make environments. On Debian: apt install python3-venv" >&2; exit 1; }

$(RUN_STAMP): $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "== installing what irer needs to run (requirements.lock)"
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(INSTALL_SELF)
	@touch $@

$(DEVELOP_STAMP): $(VENV)/bin/python requirements-dev.lock pyproject.toml
	@echo "== installing what irer needs to run and to be tested (requirements-dev.lock)"
	@$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@$(INSTALL_SELF)
	@touch $(RUN_STAMP) $@

demo: $(RUN_STAMP)  ## a real daemon, real work, kill -9, and nothing lost
	@$(BIN)/python -m irerctl.demo

up: $(RUN_STAMP)  ## start a daemon of your own under ./.irer
	@mkdir -p -m 0700 $(RUN_DIR)
	@if test -e $(RUN_DIR)/irerd.pid && grep -aqs irerd "/proc/$$(cat $(RUN_DIR)/irerd.pid)/cmdline"; then \
	  echo "irerd is up already, pid $$(cat $(RUN_DIR)/irerd.pid)"; \
	else \
	  nohup $(BIN)/irerd --state-dir $(RUN_DIR)/state --socket $(RUN_DIR)/irerd.sock </dev/null >>$(RUN_DIR)/irerd.log 2>&1 & \
	  echo $$! >$(RUN_DIR)/irerd.pid; \
	  for _ in $$(seq 100); do \
	    $(BIN)/irerctl --socket $(RUN_DIR)/irerd.sock call system.status >/dev/null 2>&1 && break; \
	    kill -0 "$$(cat $(RUN_DIR)/irerd.pid)" 2>/dev/null \
	      || { echo "irerd did not start. Its last words ($(RUN_DIR)/irerd.log):" >&2; tail -n 5 $(RUN_DIR)/irerd.log >&2; \
	           rm -f $(RUN_DIR)/irerd.pid; exit 1; }; \
	    sleep 0.1; \
	  done; \
	  echo "irerd is up, pid $$(cat $(RUN_DIR)/irerd.pid), log $(RUN_DIR)/irerd.log"; \
	fi
	@echo "try: export IRER_SOCKET=$(CURDIR)/$(RUN_DIR)/irerd.sock; $(BIN)/irerctl status      stop it: make down"

down:  ## stop that daemon; its state stays
	@if ! test -e $(RUN_DIR)/irerd.pid; then echo "no daemon was started with make up"; exit 0; fi; \
	pid="$$(cat $(RUN_DIR)/irerd.pid)"; \
	if grep -aqs irerd "/proc/$$pid/cmdline"; then \
	  kill -TERM "$$pid"; \
	  for _ in $$(seq 300); do kill -0 "$$pid" 2>/dev/null || break; sleep 0.1; done; \
	  if kill -0 "$$pid" 2>/dev/null; then echo "irerd, pid $$pid, is still stopping; see $(RUN_DIR)/irerd.log" >&2; exit 1; fi; \
	  echo "irerd stopped; its state stays in $(RUN_DIR)/state"; \
	else echo "irerd was not running"; fi; \
	rm -f $(RUN_DIR)/irerd.pid

peers:
	@tests/peers

test: $(DEVELOP_STAMP) peers  ## every test but the campaign
	@echo "== tests"
	@$(HASHED) $(BIN)/python -m pytest -q --durations=15 $(BESIDE)

fast: $(DEVELOP_STAMP)  ## some of the tests with few examples, in a minute or two
	@echo "== fast tests"
	@IRER_EXAMPLES=few $(BIN)/python -m pytest -q $(BESIDE) -m "not slow and not campaign" tests/core tests/irerd/test_config.py \
	  tests/irerd/test_notify.py tests/test_repository.py

check: $(DEVELOP_STAMP)  ## what must be green before a commit beside the tests: format, lint, types, layers, documents
	@echo "== format"; $(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ." >&2; exit 1; }
	@echo "== lint"; $(BIN)/ruff check --quiet .
	@echo "== types"; $(BIN)/mypy --no-error-summary
	@echo "== layers"; $(BIN)/python -m pytest -q tests/test_layering.py
	@echo "== published catalogue"; $(BIN)/python -m irerctl.publish --check; $(BIN)/python -m irerctl.generic --check
	@echo "== dashboards"; $(BIN)/python -m irerctl.dashboards --check
	@echo "== configuration pages"; $(BIN)/python -m irerd.settings_page --check
	@echo "== check passed"

api: $(DEVELOP_STAMP)  ## write the documents that are made from the code
	@$(BIN)/python -m irerctl.publish; $(BIN)/python -m irerctl.generic
	@$(BIN)/python -m irerctl.dashboards
	@$(BIN)/python -m irerd.settings_page

bench: $(DEVELOP_STAMP)  ## measure irerd beside its peers
	@benchmarks/run

campaign: $(DEVELOP_STAMP) peers  ## the long tests: minutes
	@$(HASHED) IRER_EXAMPLES=new ONLY="$(ONLY)" $(BIN)/python -m pytest -q -m campaign --durations=15 $(if $(ONLY),-k "$(ONLY)")

lock: $(DEVELOP_STAMP)  ## work the locks out anew (needs uv)
	@uv="$$(command -v $(CURDIR)/$(BIN)/uv uv | head -1)"; \
	test -n "$$uv" || { echo "make lock needs uv. Try: $(BIN)/pip install uv" >&2; exit 1; }; \
	compile() { echo 'setuptools>=77' | "$$uv" pip compile pyproject.toml - --python-version 3.11 --generate-hashes --upgrade \
	  --no-header --no-annotate --no-emit-index-url --quiet "$$@" >/dev/null; }; \
	compile --extra dev --extra science --extra hub --output-file requirements-dev.lock; \
	compile --extra science --extra hub --constraint requirements-dev.lock --output-file requirements.lock
	@wc -l requirements.lock requirements-dev.lock

clean:  ## remove everything that was made, the environment and ./.irer too
	@$(MAKE) down
	rm -rf $(VENV) benchmarks/.venv $(RUN_DIR) .irer-bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two commands for a new machine: `make demo` and `make test`. All others are parts of them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes \
	--no-annotate --no-emit-index-url --python-version 3.11
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help demo test check lint types unit molecule e2e bench lab clean-lab venv dev docs lock

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## From a fresh clone to a signed release on real hosts (under 5 minutes)
	@$(PYTHON) -m lab demo

test: lint types unit molecule e2e ## Everything: linters, types, unit tests, molecule and end-to-end tests on real hosts

check: lint types unit ## The fast part of the tests, without hosts

lint: dev ## ruff, yamllint, ansible-lint
	ruff check .
	ruff format --check .
	yamllint --strict .
	ANSIBLE_INVENTORY=localhost, ansible-lint --offline --profile production

types: dev ## mypy
	mypy

unit: dev ## pytest without hosts, with branch coverage
	@for tool in openssl strace; do command -v $$tool >/dev/null || $(PYTHON) -m lab install $$tool; done
	coverage run -m pytest -q tests/unit tests/modules tests/contract tests/golden
	coverage report
	coverage json -q -o - | $(VENV)/bin/python tests/coverage_gate.py

molecule: dev ## molecule scenarios on real systemd hosts
	molecule test --all

e2e: dev ## end-to-end tests on a lab of their own
	pytest -q tests/e2e

bench: venv lab ## Measure deploys and rollbacks on the lab's prod group
	@command -v rsync >/dev/null || $(PYTHON) -m lab install rsync
	$(VENV)/bin/python -m tests.bench

lab: ## Bring the lab up: 1 staging and 3 prod hosts (again and again is fine)
	@$(PYTHON) -m lab up

clean-lab: ## Remove everything of this clone's labs
	@$(PYTHON) -m lab clean

venv: $(VENV)/controller.stamp ## Make the virtual environment with what the controller runs
	@:

dev: $(VENV)/dev.stamp ## Add what developing and testing need
	@:

docs: dev ## Write docs/reference anew from the source
	python docs/generate.py

lock: venv ## Write requirements/*.lock anew from pyproject.toml
	@test -x $(VENV)/bin/uv || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) pyproject.toml -o requirements/controller.lock
	$(LOCK) --extra dev -c requirements/controller.lock pyproject.toml -o requirements/dev.lock

$(VENV)/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "expected Python 3.11 to 3.13; found $$($(PYTHON) -V). Use make PYTHON=python3.12, for example."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(PYTHON) -m lab install python3-venv
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/controller.stamp: requirements/controller.lock | $(VENV)/made.stamp
	@$(PYTHON) -m lab step "installing the controller's packages" -- $(PIP) -r $<
	@touch $@

# The development lock contains the controller's, at the same versions.
$(VENV)/dev.stamp: requirements/dev.lock | $(VENV)/made.stamp
	@$(PYTHON) -m lab step "installing the development packages" -- $(PIP) -r $<
	@touch $@ $(VENV)/controller.stamp

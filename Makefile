# Everything a person or a script does with this repository. `make` alone lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test setup check node rie lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/run.stamp  ## start the three clouds on this machine; options: make run ARGS="--once"
	@$(BIN)/python -m local $(ARGS)

test: $(VENV)/dev.stamp  ## run the tests; options: make test ARGS="-k streaming"
	@$(BIN)/python -m pytest $(ARGS)

setup: $(VENV)/run.stamp  ## only set up what `make run` needs

check: $(VENV)/dev.stamp  ## lint and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

node:  ## install OpenAI's client for Node.js, for the test that uses it (needs npm)
	npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix .trefoil/node openai@7.57.0

rie: $(VENV)/run.stamp  ## install AWS's Runtime Interface Emulator, for the tests that use it
	$(BIN)/python -m pip --quiet install --no-deps --target .trefoil/rie aws-sam-cli==1.170.0

lock:  ## resolve the dependencies of pyproject.toml anew (needs uv)
	sh local/lock.sh

clean:  ## remove what the other targets made
	rm -rf $(VENV) .trefoil build .pytest_cache .mypy_cache .ruff_cache

$(VENV)/run.stamp: local/requirements.lock local/azure-worker.lock local/setup.sh
	@PYTHON="$(PYTHON)" sh local/setup.sh $(VENV) local/requirements.lock
	@touch $@

$(VENV)/dev.stamp: tests/requirements.lock $(VENV)/run.stamp
	@PYTHON="$(PYTHON)" sh local/setup.sh $(VENV) tests/requirements.lock
	@touch $@

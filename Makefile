# Everything a person or a script does with this repository. `make` alone lists it.
.DEFAULT_GOAL := help
# The Python to make the virtual environment with, such as python3.12; by default, what local/setup.sh finds.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test setup check node rie cosmos stores suite conformance package deploy destroy checkov lock prices bench clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/run.stamp  ## start the three clouds on this machine; options: make run ARGS="--once"
	@$(BIN)/python -m local $(ARGS)

# Tests mostly wait, so three processes share them, each a file at a time. Where ARGS names files, one does it all; and
# the slow ones, which put emulators under load, have the machine to themselves.
SHARED := --numprocesses 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: $(VENV)/dev.stamp  ## run the tests but the slow ones; options: make test ARGS="-k streaming"
	@$(BIN)/python -m pytest -m "not slow" $(if $(findstring .py,$(ARGS))$(findstring slow,$(ARGS)),,$(SHARED)) $(ARGS)

setup: $(VENV)/run.stamp  ## only set up what `make run` needs

check: $(VENV)/dev.stamp  ## lint and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

node:  ## install OpenAI's client for Node.js, for the test that uses it (needs npm)
	npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix .trefoil/node openai@7.57.0

rie: $(VENV)/run.stamp  ## install AWS's Runtime Interface Emulator, for the tests that use it
	sh local/pip_install.sh $(VENV) --quiet --no-deps --target .trefoil/rie aws-sam-cli==1.170.0

cosmos:  ## install a Cosmos DB emulator, for the tests that use it (needs npm)
	npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix .trefoil/cosmos @vercel/cosmosdb-server@1.0.1

stores: $(VENV)/dev.stamp cosmos  ## set up what `make run ARGS="--stores native"` needs (needs npm)

suite: $(VENV)/dev.stamp  ## fetch OpenAI's own test suite and a mock upstream, for the tests that use them (needs npm)
	@PYTHONPATH=. $(BIN)/python tests/conformance.py --install

conformance: suite  ## OpenAI's own test suite through each cloud; options: make conformance ARGS="--cloud aws"
	@PYTHONPATH=. $(BIN)/python tests/conformance.py $(ARGS)

package: $(VENV)/run.stamp  ## build what is deployed: make package CLOUD=aws, or azure, gcp, all
	@$(BIN)/python terraform/package.py $(or $(CLOUD),all) $(ARGS)

deploy: $(VENV)/run.stamp  ## package and deploy (needs Terraform): make deploy CLOUD=aws VARS=my.tfvars
	@PYTHON=$(BIN)/python sh terraform/deploy.sh apply "$(CLOUD)" "$(VARS)" $(ARGS)

destroy:  ## take it away again: make destroy CLOUD=aws VARS=my.tfvars
	@sh terraform/deploy.sh destroy "$(CLOUD)" "$(VARS)" $(ARGS)

checkov:  ## check terraform/ against checkov's policies (installs it first: 300 MB)
	@test -x .trefoil/checkov/bin/checkov || \
		{ python3 -m venv .trefoil/checkov && .trefoil/checkov/bin/python -m pip install --quiet checkov==3.3.30; }
	@.trefoil/checkov/bin/checkov --directory terraform --framework terraform --compact --quiet --skip-download

lock:  ## resolve the dependencies of pyproject.toml anew (needs uv)
	sh local/lock.sh

prices: $(VENV)/dev.stamp  ## generate core/prices.json, the prices of models, from the installed genai-prices
	@$(BIN)/python -m local.prices

bench: $(VENV)/dev.stamp  ## measure what it adds to a call (minutes); make bench PEERS=litellm,portkey,aiohttp ARGS="--quick"
	@$(BIN)/python -m local.bench --peers "$(PEERS)" $(ARGS)

clean:  ## remove what the other targets made
	rm -rf $(VENV) .trefoil build .pytest_cache .mypy_cache .ruff_cache

$(VENV)/run.stamp: local/requirements.lock local/azure-worker.lock local/setup.sh
	@PYTHON="$(PYTHON)" sh local/setup.sh $(VENV) local/requirements.lock
	@touch $@

$(VENV)/dev.stamp: tests/requirements.lock $(VENV)/run.stamp
	@PYTHON="$(PYTHON)" sh local/setup.sh $(VENV) tests/requirements.lock
	@touch $@

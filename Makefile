# Every command a developer or user needs; `make help` lists them.
SHELL := bash
.DEFAULT_GOAL := install
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
# A pip requirement of your own in place of the locked build, for example TORCH="torch==2.13.0 --index <index of CPU builds>".
TORCH ?= -r requirements/torch.lock --require-hashes --no-deps
export OMP_NUM_THREADS ?= 1

.PHONY: $(shell grep -oE "^[a-z-]+:.*\#\# " Makefile | cut -d: -f1) clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

install: $(VENV)/installed ## Install the platform into ./.venv (TORCH=… takes another build of torch)

install-dev: $(VENV)/installed-dev ## Install what tests and checks need too

up: install ## Run the platform in the foreground on 127.0.0.1:8000 (REWARDLOOP_PORT), state in ./var (REWARDLOOP_HOME)
	@exec $(BIN)/rewardloop up

demo-captions: install ## Have captions chosen for drawn pictures, judged by what people write (equation 16)
	@exec $(BIN)/python -m examples.captions

demo: install ## Drive a real product's traffic through the platform and watch it learn (KEEP=1 leaves it running)
	@exec $(BIN)/python -m examples.digits_and_questions $(if $(KEEP),--keep)

test: install-dev browser tracer check ## Checks and all tests: unit, contract, integration, e2e, architecture
	$(BIN)/pytest -n 2 tests/unit tests/contract
	$(BIN)/pytest -n 2 --dist loadfile tests/integration
	$(BIN)/pytest -n 2 --dist loadfile tests/e2e

test-full: test ## What takes longer as well: long streams and simulations, proofs that the fault suite can fail
	$(BIN)/pytest tests/unit tests/integration tests/e2e tests/faults --run-long -m long

check: install-dev ## Lint, types, import directions, generated code
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q tests/architecture

format: install-dev ## Format and mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

proto: install-dev ## Write shared/pb from proto/
	proto/generate.sh

lock: $(VENV)/bin/uv ## Resolve the lock files again (ARGS=--upgrade takes newer releases)
	UV=$(BIN)/uv requirements/lock.sh $(ARGS)

browser: ## Install the Chromium that the dashboard's tests drive (Debian's package; elsewhere bring your own)
	@command -v chromium google-chrome chrome >/dev/null || { apt-get update -qq && apt-get install -yqq --no-install-recommends chromium; } >/dev/null

tracer: ## Install the strace by which tests make disks fail (Debian's package; elsewhere bring your own)
	@command -v strace >/dev/null || { apt-get update -qq && apt-get install -yqq --no-install-recommends strace; } >/dev/null

up-production: $(VENV)/installed-production services ## Run the platform on the servers of `make services`
	@set -a && . var/services/services.env && REWARDLOOP_SEPARATE_MODEL_SERVICES=true && $(BIN)/rewardloop init && exec $(BIN)/rewardloop up

services: install ## Run Kafka, PostgreSQL and Redis as processes of this machine, state and addresses in ./var/services
	@$(BIN)/python -m deploy.local start

services-install: install ## Install what `make services` starts (Debian's packages, Maven Central's jars)
	@$(BIN)/python -m deploy.local install

services-stop: install ## End the servers of `make services`, and no others
	@$(BIN)/python -m deploy.local stop

faults: install-dev services-install ## Break the platform under load, 200,000 events, and write docs/reliability.md (ARGS="--only NAME" does less)
	$(BIN)/python -m tests.faults --bounds --to docs/reliability.md $(ARGS)

faults-short: install-dev services-install ## One fault of each kind, in under six minutes
	$(BIN)/python -m tests.faults --short $(ARGS)

images: ## Build the images rewardloop:slim and rewardloop:torch by docker or buildah (BASE_IMAGE=debootstrap: from Debian's packages)
	@deploy/images/build.sh

test-images: install-dev services-install ## Start what `make images` built as docker-compose.yml says, on real servers, and take a decision through all of it (root)
	@PYTHON=$(abspath $(BIN)/python) tests/images/run.sh

docs: install-dev ## Build the documentation's site into ./site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench-episodes: install-dev ## FrozenLake and CliffWalking from a random policy's log (ARGS=cliffwalking does one)
	$(BIN)/python -m benchmarks.episodes $(ARGS)

bench-encoders: install-dev ## Emoji by their names and as pictures, with and without a pretrained encoder
	$(BIN)/python -m benchmarks.encoders $(ARGS)

bench-fine-tune: install-dev ## Seconds and memory of one fine-tune (ARGS="--processes 2" runs it on two)
	$(BIN)/python -m benchmarks.fine_tune $(ARGS)

bench: install-dev ## Decisions per second, beside the bare limit and other servers (ARGS="--peers FOLDER" names those)
	$(BIN)/python -m benchmarks.decide $(ARGS)

bench-shapes: install-dev services ## Many actions, feedback in lists, 100,000 decisions (ARGS="--parts actions" does less)
	$(BIN)/python -m benchmarks.shapes $(ARGS)

bench-shadow: install-dev ## What a shadow version costs decisions
	$(BIN)/python -m benchmarks.shadow $(ARGS)

bench-promotion: install-dev services ## Seconds until a promotion decides everything on two gateways
	$(BIN)/python -m benchmarks.promotion $(ARGS)

bench-scale: install-dev services ## What a decision costs with one and with two of everything; writes docs/scale.md
	$(BIN)/python -m benchmarks.scale $(ARGS)

bench-joiner: install-dev services ## Events per second that the joiner joins on PostgreSQL and Kafka, beside reading the log alone
	$(BIN)/python -m benchmarks.joiner $(ARGS)

bench-pages: install-dev browser ## Seconds until a loop's pages show with 100,000 decisions behind them
	$(BIN)/python -m benchmarks.pages $(ARGS)

bench-learning: install-dev ## Reward earned on real streams beside Vowpal Wabbit (ARGS="--streams digits --seeds 1" does less)
	$(BIN)/python -m benchmarks.learning $(ARGS)

clean: ## Remove the environment and all state
	rm -rf $(VENV) var

$(BIN)/uv: requirements/installer.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rewardloop needs Python 3.11 or newer: set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.lock
	@touch $@

$(VENV)/installed: $(BIN)/uv requirements/torch.lock requirements/embedded.lock pyproject.toml
	@echo "Installing Rewardloop into ./$(VENV) (torch first, the largest part) …"
	$(UV) $(TORCH)
	$(UV) --require-hashes --no-deps -r requirements/embedded.lock
	$(UV) --no-deps --editable . --editable sdk/python
	@touch $@

$(VENV)/installed-production: $(VENV)/installed requirements/production.lock
	$(UV) --require-hashes --no-deps -r requirements/production.lock
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements/dev.lock
	$(UV) --require-hashes --no-deps -r requirements/dev.lock
	@touch $@

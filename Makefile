# Everything a developer types. Needs make, a Python >= 3.10 and, for the real brain, one >= 3.11.

VENV := .venv
BIN := $(VENV)/bin
BRAIN_VENV := .venv-brain
BRAIN_PACKAGE := z4j==1.13.*
# Quick suites: no services, no sleeps.
QUICK := $(wildcard tests/unit tests/conformance tests/docs/test_pages.py tests/docs/test_security.py)
PYTEST_ARGS ?=
# How many tests run at a time; for `make test` files, which mostly wait for workers and brains.
JOBS ?= 2
# For `make demo`: BRAIN=z4j runs against the real brain, KEEP=1 leaves all running at the end.
BRAIN ?=
KEEP ?=
# For `make truth`: BRAIN=z4j as above, FULL=1 plays every cell, TRUTH_ARGS as --pool and --broker.
FULL ?=
TRUTH_ARGS ?=
# For `make commands`: as --broker RabbitMQ, --row purge.
COMMANDS_ARGS ?=
# For `make buttons`: as for `make commands`.
BUTTONS_ARGS ?=
# For `make damage`: as --every 16, of the database only every 16th byte and length.
DAMAGE_ARGS ?=
# For `make fuzz`, beside MINUTES: as --target journal --seed 7, --keep to add to the corpus.
FUZZ_ARGS ?=
# For `make canary`: BRAIN=z4j as above, CANARY_ARGS as --broker redis, --without value:email.
CANARY_ARGS ?=
# For `make outage`: as --events 100000 --hours 2.
OUTAGE_ARGS ?=
# For `make screenshots`: URL of a real broker, instead of the embedded one.
BROKER ?=
# For `make chaos`: how long each seed plays, and which seeds; one by the clock by default.
MINUTES ?= 5
SEEDS ?=

.DEFAULT_GOAL := help
.PHONY: help venv brain lint check test demo bench truth commands buttons settings chaos canary damage fuzz outage mutants docs screenshots clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  demo takes BRAIN=z4j (the real brain) and KEEP=1 (leave it running)"

venv: $(VENV)/.ready ## Make .venv with everything a developer needs

brain: $(BRAIN_VENV)/.ready ## Make .venv-brain with the real brain

$(VENV)/.ready: pyproject.toml
	@test -x $(BIN)/python || { \
	  for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	      echo "Making $(VENV) with $$python"; exec $$python -m venv $(VENV); \
	    fi; \
	  done; \
	  echo "No Python >= 3.10 found; install one, then run make again" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[celery]' --group dev
	@touch $@

$(BRAIN_VENV)/.ready: Makefile
	@test -x $(BRAIN_VENV)/bin/python || { \
	  for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "Making $(BRAIN_VENV) with $$python"; exec $$python -m venv $(BRAIN_VENV); \
	    fi; \
	  done; \
	  echo "The real brain needs Python >= 3.11 and none was found; install one, or set Z4J_BRAIN_BIN to an installed z4j" >&2; \
	  exit 1; }
	@$(BRAIN_VENV)/bin/python -m pip install --quiet --disable-pip-version-check '$(BRAIN_PACKAGE)'
	@touch $@

lint: venv
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

check: lint ## Style, types, layers, unit and conformance tests; under a minute, no services
	$(BIN)/pytest -q -n $(JOBS) $(QUICK) $(PYTEST_ARGS)

# A missing brain is one more missing service: its tests skip and are counted, or fail when
# Z4J_REQUIRE_SERVICES=1.
test: lint ## All of check, and every test against real workers, brokers and brains
	@$(MAKE) --no-print-directory brain || echo "Going on without the real brain" >&2
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile tests $(PYTEST_ARGS)

demo: venv $(if $(filter z4j,$(BRAIN)),brain) ## The tour: a worker, its tasks, a brain, its commands
	$(BIN)/z4j-otel demo $(if $(BRAIN),--brain $(BRAIN)) $(if $(KEEP),--keep)

bench: venv ## Measure the budgets, as ratios in one run
	$(BIN)/python tests/bench

truth: venv $(if $(filter z4j,$(BRAIN)),brain) ## The truth table: pools, brokers, every way a task can end
	$(BIN)/python -m tests.truth $(if $(BRAIN),--brain $(BRAIN)) $(if $(FULL),--full) $(TRUTH_ARGS)

commands: venv brain ## Every command through the real brain, on real workers and brokers; needs Redis, RabbitMQ
	$(BIN)/python -m tests.commands $(COMMANDS_ARGS)

buttons: venv brain ## The dashboard's buttons, clicked in a browser; needs chromium, chromium-driver, Redis, RabbitMQ
	$(BIN)/python -m tests.buttons $(BUTTONS_ARGS)

settings: venv ## Every setting from every place it can come from, its effect observed
	$(BIN)/python -m tests.settings

chaos: venv ## Faults by seed against a real worker, counted; MINUTES=10 SEEDS="1 2 3"; needs Redis
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEEDS),--seeds $(SEEDS))

canary: venv $(if $(filter z4j,$(BRAIN)),brain) ## Secrets planted everywhere, and none found; BRAIN=z4j; CANARY_ARGS="--without value:email"
	$(BIN)/python -m tests.canary $(if $(BRAIN),--brain $(BRAIN)) $(CANARY_ARGS)

damage: venv ## Every byte of an agent's files wrong once, every length cut off; DAMAGE_ARGS="--every 16"
	$(BIN)/python -m tests.damage --jobs $(JOBS) $(DAMAGE_ARGS)

fuzz: venv ## Hostile bytes at every boundary, by seed; MINUTES=10 FUZZ_ARGS="--target journal --seed 7"
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(FUZZ_ARGS)

outage: venv ## A brain away for 24 h and 2 million events, in simulated time: caps, counts, delivery
	$(BIN)/python -m tests.outage $(OUTAGE_ARGS)

mutants: venv ## Break the code in known ways and see that a test notices
	$(BIN)/python tests/mutation

docs: venv ## Write docs/reference anew from the code
	$(BIN)/python -m tests.docs

screenshots: venv brain ## Write docs/images anew; needs chromium and chromium-driver
	$(BIN)/python -m tests.screenshots $(BROKER)

clean: ## Remove both environments and all that can be made again
	rm -rf $(VENV) $(BRAIN_VENV) dist build site .coverage*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One command for each thing one does with a checkout. All of them set up what they need first.
# `make` alone lists them.

BIN := .venv/bin
PYTEST ?= -n auto
UV ?= uv

.PHONY: help setup setup-dev bench demo demo-once demo-saas demo-saas-once demo-reset test test-browser test-security test-parse test-faults test-faults-short test-simulators test-steps test-machine test-laws screenshots docs words lint format lock

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: ## Fill .venv with the pinned packages and the syncline command
	@sh scripts/setup.sh

setup-dev: ## The same with what tests and checks need
	@sh scripts/setup.sh --dev

demo: setup ## Run everything here: a customer database and a sheet that follow each other
	@exec $(BIN)/syncline demo

demo-once: setup ## The same without staying: a run, an edit on each side, a second run
	@exec $(BIN)/syncline demo --once

demo-saas: setup ## Run everything with an Airtable and a Google Sheet, played here: edit either, see the other follow
	@exec $(BIN)/syncline demo --saas

demo-saas-once: setup ## The same without staying: edits each way, a conflict, and its settlement
	@exec $(BIN)/syncline demo --saas --once

demo-reset: setup ## Forget the demo's files and state
	@exec $(BIN)/syncline demo --reset

test: lint ## Check everything: formatting, lint, imports, types and the quick suite
	$(BIN)/pytest $(PYTEST)

test-browser: setup-dev ## The panel in a real Chromium: every page, both themes, two widths, the main stories
	$(BIN)/pytest -m browser tests/browser

test-security: setup-dev .venv-semgrep/complete ## Fuzz the API, look for secrets in everything that comes out, and hold the code to the rules
	$(BIN)/pytest -n 2 -m security tests/security

.venv-semgrep/complete: requirements-semgrep.lock # apart from .venv: its pins are no part of ours
	$(BIN)/python -m venv --clear .venv-semgrep
	.venv-semgrep/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-semgrep.lock
	@touch $@

test-parse: setup-dev ## Check the parse connector against a real Parse Server (needs Node)
	SYNCLINE_TEST_PARSE=1 $(BIN)/pytest $(PYTEST) tests/connectors/test_parse_server.py tests/connectors/test_parse_walk.py

test-faults: setup-dev ## Break real processes, disks, clocks and connections; SCENARIO=every, SEED=1, SECONDS=60 or KILLS=200
	$(BIN)/python -m tests.faults.run --scenario $(or $(SCENARIO),every) --seed $(or $(SEED),1) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(KILLS),--kills $(KILLS)) $(FAULTS)

test-faults-short: setup-dev ## The same in two minutes, and the proof that missing safeguards are seen
	$(BIN)/pytest -m faults tests/faults

test-simulators: setup-dev ## The engine's scenarios with Airtable and Google Sheets as the ends, played here; ONLY=test_truth_table.py
	$(BIN)/pytest $(PYTEST) --dist loadfile --system simulators $(addprefix tests/scenarios/,$(ONLY))$(if $(ONLY),,tests/scenarios)

test-steps: setup-dev ## Die, and fail, at every step of a run; the truth table under every policy (about 10 minutes)
	$(BIN)/pytest $(PYTEST) -m long -rP tests/machine/test_crash_everywhere.py tests/blackbox

bench: setup-dev ## Measure: SIZE=10000,100000 (or 1000000), ONLY=memory,sqlite,postgresql,dlt
	$(BIN)/python -m bench.run $(if $(SIZE),--size $(SIZE)) $(if $(ONLY),--only $(ONLY))

test-machine: setup-dev ## The state machine against its model; EXAMPLES=2000, SEED=1 (by chance)
	MACHINE_EXAMPLES=$(or $(EXAMPLES),2000) MACHINE_SEED=$(SEED) $(BIN)/pytest $(PYTEST) -rP tests/machine/test_machine.py

test-laws: setup-dev ## Take each law out of the code, one at a time, and see a test turn red; ARGS=--first for one cut of each law
	$(BIN)/python -m tests.laws.run $(ARGS)

screenshots: setup-dev ## Renew the pictures of the README and docs/panel.md from a staged installation
	$(BIN)/python -m tests.browser.screenshots

lint: setup-dev ## Only the checks that run nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: setup-dev ## Let ruff put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup-dev ## Write the pages that are made from the code
	$(BIN)/python -m connectors.handbook
	$(BIN)/python -m tests.pages
	$(BIN)/python -m tests.scenarios.table

words: setup-dev ## Bring the language files up to date with the texts of the panel; LANGUAGE=fr begins one
	$(BIN)/python -m tests.catalogue $(LANGUAGE)

lock: ## Pin what pyproject.toml asks for, with hashes (needs uv)
	$(UV) pip compile pyproject.toml --extra local --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header --quiet -o requirements.lock
	$(UV) pip compile pyproject.toml --extra dev -c requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header --quiet -o requirements-dev.lock
	echo semgrep | $(UV) pip compile - --universal --python-version 3.11 \
		--generate-hashes --no-annotate --no-header --quiet -o requirements-semgrep.lock

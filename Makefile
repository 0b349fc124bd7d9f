# Every target is one line that a person could type; `make help` lists them.
PY := .venv/bin/python
RUN := sh .ci/venv &&
CODE := sidecar clients/python tests protos helm
.DEFAULT_GOAL := help
.PHONY: help install tools demo test check format lint types imports proto docs unit property contract sim sim-mutations soak fuzz e2e bench audit lock goldens

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: ## Make .venv with everything the project needs, exactly as locked
	$(RUN) true

tools: ## Fetch what is no Python package: Helm, and Prometheus for the alerts
	sh .ci/tools && sh .ci/promtool

demo: ## Show the whole way in half a minute: emulator, service, a scripted office
	$(RUN) $(PY) -m sidecar demo

test: ## Run all tests but the benchmarks
	$(RUN) sh .ci/tools && sh .ci/promtool && $(PY) -m pytest -q -n 4 --dist loadgroup tests

check: ## Everything that must hold besides the tests
	$(RUN) sh .ci/check

format: ## Rewrite the code in the house's format
	$(RUN) .venv/bin/ruff format -q $(CODE) && .venv/bin/ruff check -q --fix $(CODE) && .venv/bin/buf format -w

lint: ## Look for mistakes
	$(RUN) .venv/bin/ruff check $(CODE)

types: ## Check the types
	$(RUN) .venv/bin/mypy sidecar clients/python/exchange_client tests protos/generate.py helm/values_table.py helm/dashboard.py

imports: ## Check who imports whom
	$(RUN) .venv/bin/lint-imports

proto: ## Generate the code of protos/
	$(RUN) $(PY) protos/generate.py

docs: ## Write the generated tables: settings, metrics, values of the charts, and the dashboard
	$(RUN) $(PY) -m sidecar.cli.reference --write && $(PY) -m sidecar.cli.metrics_table --write && $(PY) helm/values_table.py && $(PY) helm/dashboard.py --write

unit: ## Unit tests only: no processes
	$(RUN) $(PY) -m pytest -q -n 2 tests/unit

property: ## Property tests only
	$(RUN) $(PY) -m pytest -q -n 2 tests/property

contract: ## Conformance suites only
	$(RUN) $(PY) -m pytest -q -n 2 tests/contract

SEEDS ?= 20
sim: ## Simulate whole lives of the service on virtual time, SEEDS=20 of them from FIRST=0 on, also KIND=writes, invites, rests or outside
	$(RUN) $(PY) -m tests.simulation --seeds $(SEEDS) --first $(or $(FIRST),0) $(if $(KIND),--$(KIND))

sim-mutations: ## Break one rule at a time on purpose, and see that a simulated life finds it
	$(RUN) $(PY) -m tests.simulation --mutations --seeds 1000

MINUTES ?= 30
STORE ?= sqlite
soak: ## Let real processes live through hard minutes: MINUTES=30 STORE=sqlite|postgres, SEED= to choose again alike
	$(RUN) $(PY) -m tests.soak --minutes $(MINUTES) --store $(STORE) $(if $(SEED),--seed $(SEED))

fuzz: ## Fuzz everything that reads what others have written: MINUTES=30 together, TARGET= for one, SEED= to choose again alike
	$(RUN) sh .ci/fuzz --minutes $(MINUTES) $(if $(TARGET),--target $(TARGET)) $(if $(SEED),--seed $(SEED))

e2e: ## Tests with real processes only
	$(RUN) sh .ci/tools && sh .ci/promtool && $(PY) -m pytest -q -n 2 --dist loadgroup tests/e2e

bench: ## Print the benchmarks' ratios
	$(RUN) $(PY) -m tests.bench

audit: ## Ask whether anything that comes from others has a known weakness
	$(RUN) sh .ci/audit

lock: ## Write the lock files anew
	$(RUN) sh .ci/lock

goldens: ## Write the charts' goldens anew
	$(RUN) sh .ci/tools && $(PY) -m tests.support.chart && $(PY) -m tests.support.library_chart

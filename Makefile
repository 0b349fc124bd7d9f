# Every target is one line that a person could type; `make help` lists them.
PY := .venv/bin/python
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.installed: requirements-dev.lock pyproject.toml clients/python/pyproject.toml
	sh .ci/venv
	@touch $@

install: .venv/.installed ## Make .venv with everything the project needs, exactly as locked
.PHONY: install

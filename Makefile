# Works on the template itself. A fresh machine needs Python 3.11+ with venv, git and make; the rest is set up in here.

# One place holds the date that everything resolves as of: the file every rendered repository gets.
RELEASED := $(shell sed -n 's/^RELEASED := *//p' template/lifecycle/lifecycle.mk)
STARTED := $(shell date +%s)

unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT

PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),build/uv/bin/uv)
READY := .venv/ready

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint manifest dashboard-json pictures proof soak release tags bench-first-prediction bench-serving bench-scoring

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## render the default repository into build/demo and take it to a served prediction
	@.venv/bin/python -m looseleaf.demo --started $(STARTED)

test: $(READY) ## the whole suite (ARGS="tests/test_render.py -k names" for a part)
	@.ci/packages
	.venv/bin/pytest -n 2 --dist loadgroup $(ARGS)

lint: $(READY) ## lint, formatting and types, template/ included where it lies
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

manifest: $(READY) ## write the hashes of the template's zone (after a change in template/lifecycle)
	@.venv/bin/python -m looseleaf.manifest

dashboard-json: $(READY) ## write the Grafana dashboard that its code builds (after a change in hooks/looseleaf/dashboard.py)
	@.venv/bin/python -m looseleaf.dashboard

pictures: $(READY) ## the README's pictures of report and dashboard, from a year that is played now
	.venv/bin/python tests/support/pictures.py

proof: $(READY) ## delete each template file in turn: a test must turn red (long; ARGS=PATH for some); then the soak
	.venv/bin/python tests/support/sweep.py $(ARGS)
	PYTHONPATH=tests .venv/bin/python -m support.soak

soak: $(READY) ## a service under mixed load: memory and files must not grow (ARGS=MINUTES; default 10)
	PYTHONPATH=tests .venv/bin/python -m support.soak $(ARGS)

release: $(READY) ## check, record and tag a release (VERSION=X.Y.Z; CHECKED=1: lint and test have just passed)
	@.venv/bin/python -m looseleaf.release release "$(VERSION)" $(if $(CHECKED),--checked) $(if $(PUSH),--push)

tags: $(READY) ## make the tags of all releases again (PUSH=1: and push them)
	@.venv/bin/python -m looseleaf.release tags $(if $(PUSH),--push)

bench-first-prediction: $(READY) ## time copy, setup, train and the first served prediction, cold and warm
	.venv/bin/python benchmarks/first_prediction.py $(ARGS)

bench-serving: $(READY) ## our service beside MLflow, BentoML, LitServe, FastAPI and constants (JSON=FILE; ARGS="--rounds 5")
	.venv/bin/python benchmarks/serving.py $(if $(JSON),--json "$(JSON)") $(ARGS)

bench-scoring: $(READY) ## score a table beside a plain loop (JSON=FILE ROWS=10000000 ROUNDS=3)
	.venv/bin/python benchmarks/scoring.py $(if $(JSON),--json "$(JSON)") $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS))

# uv.lock is not in git: it follows from the ranges and the date, and a company's index need not be in it.
$(READY): pyproject.toml template/lifecycle/pyproject.toml template/lifecycle/lifecycle.mk | $(filter build/uv/bin/uv,$(UV))
	UV_EXCLUDE_NEWER=$(RELEASED) $(UV) lock || $(UV) lock
	$(UV) sync --frozen
	@touch $@

build/uv/bin/uv:
	@echo "Setting up uv in build/uv (once) …"
	$(PYTHON) -m venv build/uv
	build/uv/bin/pip install --quiet uv

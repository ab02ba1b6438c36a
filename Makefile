# Commands to develop the template. A new machine needs Python 3.11 or newer with venv, git and make.

# The date as of which dependencies are resolved is defined in the rendered repository's own makefile.
RELEASED := $(shell sed -n 's/^RELEASED := *//p' template/lifecycle/lifecycle.mk)
STARTED := $(shell date +%s)

unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
# It could leave tests out of a suite that is recorded as passed.
unexport PYTEST_ADDOPTS

PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),build/uv/bin/uv)
READY := .venv/ready
# Writes commit and result of a check below build/checks, which a release needs; a part of a suite is not recorded.
RECORD = $(if $(ARGS),,.venv/bin/python -m maintenance.checks $@)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow test-fork lint manifest rehearse pictures loop proof soak release tags bench-first-prediction bench-serving bench-scoring bench-monitoring bench-engine bench-containers

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## render the default repository into build/demo and serve a prediction from it
	@.venv/bin/python -m maintenance.demo --started $(STARTED)

test: $(READY) ## every promise once: 20 minutes on two cores (ARGS="tests/template/test_render.py -k names" for a part)
	@.ci/packages
	$(RECORD) .venv/bin/pytest -m "not slow" -n 3 --dist loadgroup --durations 10 $(ARGS)

test-slow: $(READY) ## each shape installed, updates, browsers, real services, planted faults: 40 minutes
	@.ci/packages
	$(RECORD) .venv/bin/pytest -m "slow and not proof" -n 3 --dist loadgroup --durations 10 $(ARGS)

test-fork: $(READY) ## the values of org.yml in use: set up and check a new repository, update one of the last release (5 minutes)
	.venv/bin/pytest tests/system/test_fork.py --durations 0 $(ARGS)

lint: $(READY) ## lint, formatting, types, layers and vocabulary, template/ included
	$(RECORD) sh -exc '.venv/bin/ruff check; .venv/bin/ruff format --check; .venv/bin/mypy; .venv/bin/lint-imports --no-logo; .venv/bin/codespell'

manifest: $(READY) ## write the page of settings, and the hashes of the template's zone (after a change in template/lifecycle)
	@PYTHONPATH=tests:. .venv/bin/python tests/support/settings_page.py
	@.venv/bin/python -m maintenance.manifest

rehearse: $(READY) ## plan the update of real repositories to HEAD, before it is a release (FILE=repositories.txt; docs/fleet.md)
	LOOSELEAF_SOURCE="$(CURDIR)" .venv/bin/looseleaf fleet plan --file "$(FILE)" --to "$$(git rev-parse HEAD)" $(ARGS)

pictures: $(READY) ## take the README's pictures of report and gate decision from a simulated year
	PYTHONPATH=tests:. .venv/bin/python tests/support/pictures.py

loop: $(READY) ## simulate years with and without a change, and false alarms, with seeds (ARGS=YEARS; default 20; 20 minutes)
	PYTHONPATH=tests:. .venv/bin/python tests/support/loop.py $(ARGS)
	PYTHONPATH=tests:. .venv/bin/python tests/support/false_alarms.py

proof: $(READY) ## mutate the modules that decide, delete each template file, soak test, simulated years; writes docs/proof.md (75 minutes; ARGS="loop mutation sweep soak" for parts)
	@.ci/packages
	$(if $(ARGS),,.venv/bin/pytest -m proof -n 3 --dist loadgroup)
	PYTHONPATH=tests:. .venv/bin/python tests/support/proof.py $(ARGS)

soak: $(READY) ## run a service under mixed load: memory and open files must not grow (ARGS=MINUTES; default 10)
	PYTHONPATH=tests:. .venv/bin/python tests/support/soak.py $(ARGS)

release: $(READY) ## check, record and tag a release (VERSION=X.Y.Z, or X.Y.Z.postN in a company's fork)
	@.venv/bin/python -m maintenance.release release "$(VERSION)" $(if $(PUSH),--push)

tags: $(READY) ## create the tags of all releases (PUSH=1: and push them)
	@.venv/bin/python -m maintenance.release tags $(if $(PUSH),--push)

bench-first-prediction: $(READY) ## time copy, setup, train and the first served prediction, cold and warm
	PYTHONPATH=. .venv/bin/python benchmarks/first_prediction.py $(ARGS)

bench-serving: $(READY) ## compare the service with MLflow, BentoML, LitServe and FastAPI (JSON=FILE; ARGS="--rounds 5")
	PYTHONPATH=. .venv/bin/python benchmarks/serving.py $(if $(JSON),--json "$(JSON)") $(ARGS)

bench-scoring: $(READY) ## compare batch scoring with a plain loop (JSON=FILE ROWS=10000000 ROUNDS=3)
	PYTHONPATH=. .venv/bin/python benchmarks/scoring.py $(if $(JSON),--json "$(JSON)") $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-monitoring: $(READY) ## memory and CPU time of monitoring a generated log (JSON=FILE ROWS=10000000; 100 million rows need 40 GB of disk)
	PYTHONPATH=. .venv/bin/python benchmarks/monitoring.py $(if $(JSON),--json "$(JSON)") $(if $(ROWS),--rows $(ROWS)) $(ARGS)

bench-engine: $(READY) ## compare features on DuckDB, pandas, Polars and Spark (ROWS=1000000 ROUNDS=3 ARGS="--zipf 1.5"; about 1 GB is installed)
	PYTHONPATH=. $(UV) run --no-project --python .venv/bin/python --with duckdb --with pandas --with pyarrow --with polars --with 'pyspark>=4.1,<5' \
		python benchmarks/engine.py $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

bench-containers: $(READY) ## size, start, memory and CPU time of the images (as root; JSON=FILE)
	@.ci/packages
	PYTHONPATH=tests:. .venv/bin/python tests/support/containers.py $(if $(JSON),--json "$(JSON)") $(ARGS)

# uv.lock is not in git: it follows from the ranges and the date, and would name a package index.
$(READY): pyproject.toml template/lifecycle/pyproject.toml template/lifecycle/lifecycle.mk | $(filter build/uv/bin/uv,$(UV))
	UV_EXCLUDE_NEWER=$(RELEASED) $(UV) lock || $(UV) lock
	$(UV) sync --frozen
	@touch $@

build/uv/bin/uv:
	@echo "Setting up uv in build/uv (once) …"
	$(PYTHON) -m venv build/uv
	PIP_USER=0 build/uv/bin/pip install --quiet uv

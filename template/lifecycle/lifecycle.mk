# The commands of this repository. They run from its own environment, so only `make setup` and `make upgrade` need a network.
# An update replaces this file. Put targets of your own in the Makefile that includes it.

# The template's release date. The first `make setup` and `make upgrade` resolve as of it; uv.lock keeps the result.
RELEASED := 2026-11-23T00:00:00Z

# Of what the command line sets, only variables without a `$` are exported: make would expand the others, such as a WHY
# with `$(shell …)`. A CI host sets what is not configured to an empty text, which is no address of a storage.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(if $(findstring $$,$(value $(name))),$(eval unexport $(name)))))
$(foreach name,$(filter AWS_% LIFECYCLE_%,$(.VARIABLES)),$(if $(value $(name)),,$(eval unexport $(name))))

include lifecycle/org.mk
# A Makefile may set another index than that of the company in uv.toml.
ifneq ($(UV_DEFAULT_INDEX),)
export UV_DEFAULT_INDEX
endif

# Container images and CI often set it. Every command would then compile its libraries again: 8 seconds instead of 3.
unexport PYTHONDONTWRITEBYTECODE
# The environment is always .venv, also while another one is active.
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
# No library sends usage data, also where a notebook or a test imports it before the lifecycle.
export ORT_DISABLE_TELEMETRY ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= 1

PYTHON ?= python3
# The version of uv in CI, and where there is none on the PATH.
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
RUN := .venv/bin/lifecycle

# `$(call option,--why,WHY)` is `--why 'the text'` when WHY is set on make's command line, and empty otherwise: variables
# of the shell are ignored, because CI hosts export a VERSION of their own. `$` is not expanded. ENVIRONMENT is the
# exception: `ENVIRONMENT=production make serve` must never serve another one.
quote = '$(subst ','\'',$(1))'
given = $(if $(filter command,$(origin $(1))),$(value $(1)))
option = $(if $(call given,$(2)),$(1) $(call quote,$(call given,$(2))))
assign = $(if $(call given,$(2)),$(1)=$(call quote,$(call given,$(2))))
flag = $(if $(call given,$(2)),$(1))
environment = $(if $(value ENVIRONMENT),--environment $(call quote,$(value ENVIRONMENT)))

# Without this warning, a misspelt ENVIRONMENT would select `local` unnoticed. The files that may use a variable are searched.
$(foreach name,$(filter-out AWS_% LIFECYCLE_%,$(.VARIABLES)),$(if $(call given,$(name)),$(if $(filter 1,$(shell grep -rqw -- \
	$(call quote,$(name)) $(wildcard Makefile *.mk lifecycle/*.mk lifecycle/tools config deploy src) 2> /dev/null || echo $$?)),$(warning no goal uses $(name): it is only exported to the commands))))

# An interrupted update may leave lifecycle/ half replaced. `make setup` is part of an update that is not complete yet.
ifeq ($(filter setup,$(MAKECMDGOALS))$(call given,ABORT),)
ifneq ($(wildcard $(shell git rev-parse --git-path looseleaf-update 2> /dev/null)),)
$(error An update was interrupted here: make update ABORT=1 restores every file)
endif
endif

# The commands of a usage without which this repository was rendered. `make help` omits them, and `lifecycle` explains how
# to add them. The files are tested, because an update does not remove compiled files of Python from a folder.
package = $(wildcard lifecycle/src/lifecycle/$(1)/__init__.py)
ABSENT := $(if $(call package,serving),,features serve client year slo) $(if $(call package,scoring),,score) \
	$(if $(wildcard deploy/Containerfile),,image) $(if $(wildcard deploy/compose.yaml),,up down) \
	$(if $(wildcard deploy/kubernetes),,manifests deploy) $(if $(wildcard lifecycle/tools/scheduled.py),,audit sbom scheduled)
# The steps of `make smoke`.
SMOKE := train promote $(filter-out $(ABSENT),score)
# The template's command `looseleaf`, from the source and commit in .copier-answers.yml (or from LOOSELEAF_SOURCE).
SOURCE := .venv/bin/python lifecycle/tools/template_source.py
LOOSELEAF = template=$$($(SOURCE)) && $(UV) run --quiet --no-sync "$$template" looseleaf
INFER = $(LOOSELEAF) contract infer $(call assign,--data,DATA) $(call assign,--label,LABEL) $(call assign,--key,KEY) \
	$(call assign,--id,ID) $(call assign,--time,TIME) $(call assign,--seen,SEEN) $(call assign,--task,TASK) \
	$(call assign,--task,ANSWER) $(call assign,--positive,POSITIVE) $(call assign,--encoding,ENCODING) \
	$(call assign,--keep,KEEP) $(call assign,--drop,DROP) $(call assign,--log-only,LOG_ONLY) \
	$(call flag,--diff,DIFF) $(call flag,--force,FORCE) $(call flag,--yes,YES)
LIFT = $(LOOSELEAF) lift $(call assign,--data,DATA) $(call assign,--label,LABEL) $(call assign,--model,MODEL) \
	$(call assign,--kernel,KERNEL) $(call assign,--with,WITH) $(call assign,--seconds,SECONDS) $(call flag,--force,FORCE) \
	$(call flag,--defaults,YES) $(call flag,--dry-run,DRY_RUN) $(call option,--,NOTEBOOK)

.DEFAULT_GOAL := help
# `make train promote` runs its goals one after the other, also when MAKEFLAGS has -j.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup upgrade check test smoke contract lift graduate sample config notebook train promote approve rollback bundle conform card owners \
	collect labels erase monitor accept retrain history features serve client year ready slo score image up down manifests deploy \
	scheduled audit sbom

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / && !index(" $(ABSENT) ", " " $$1 " ") { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: uv.lock ## install all dependencies into .venv, and the commit hooks in a git repository (EXTRAS=mlflow)
	$(UV) sync --locked $(if $(call given,EXTRAS),--all-packages $(foreach extra,$(call given,EXTRAS),--extra $(call quote,$(extra))))
	@if [ ! -e .git ]; then echo "The commit hooks were not installed: this is not a git repository. Run git init, then make setup again."; \
	elif [ -n "$$(git config core.hooksPath)" ]; then echo "The commit hooks were not installed: git's core.hooksPath names another folder."; \
	elif ! mkdir -p "$${PRE_COMMIT_HOME:-$${XDG_CACHE_HOME:-$$HOME/.cache}/pre-commit}" 2> /dev/null; then echo "The commit hooks were not installed: their cache below the home folder cannot be written (PRE_COMMIT_HOME names another one)."; \
	else .venv/bin/pre-commit install; fi

# uv.lock may be newer than the release, after `uv add` or a bot. Nothing in it is downgraded unless RELEASED is given: the
# latest day of a locked file counts, because an older date would hide that file.
upgrade: LOCKED = $(if $(call given,RELEASED),:,sed -n 's/.*upload-time = "\([-0-9]*\)T.*/\1T23:59:59Z/p' uv.lock 2> /dev/null)
upgrade: | $(filter .uv/bin/uv,$(UV)) ## upgrade the dependencies to the template's release date, and install them (RELEASED=TIME)
	UV_EXCLUDE_NEWER=$$({ echo $(RELEASED); $(LOCKED); } | sort | tail -n 1) $(UV) lock --upgrade || $(UV) lock --upgrade
	$(UV) lock
	$(UV) sync --locked

# --- Updates of the template; make eject removes them
.PHONY: update propose provenance eject
# An update changes the environment of the repository, so it runs in a separate one.
ISOLATED = template=$$($(SOURCE)) && $(UV) run --quiet --isolated --no-project "$$template" looseleaf
UPDATE = $(ISOLATED) update \
	$(call flag,--dry-run,DRY_RUN) $(call assign,--to,TO) $(call assign,--set,SET) $(call assign,--take,TAKE) \
	$(call flag,--diff,DIFF) $(call assign,--format,FORMAT) $(call assign,--output,OUTPUT)
# A misspelt DRY_RUN must not make the update.
UPDATE_TAKES := DRY_RUN TO SET TAKE DIFF FORMAT OUTPUT ABORT
UNKNOWN = $(filter-out $(UPDATE_TAKES) LOOSELEAF_SOURCE ISOLATED PYTHON UV UV_DEFAULT_INDEX,$(foreach name,$(.VARIABLES),$(if $(call given,$(name)),$(name))))
ifneq ($(and $(filter update,$(MAKECMDGOALS)),$(strip $(UNKNOWN))),)
$(error make update has no variable $(strip $(UNKNOWN)): it has $(UPDATE_TAKES) and LOOSELEAF_SOURCE)
endif
ifneq ($(call given,ABORT),)
# An interrupted update may leave lifecycle/ half replaced, so the tool that restores it is part of the backup.
update:
	@tool=$$(git rev-parse --git-path looseleaf-update)/tool; \
	if [ -d "$$tool" ]; then PYTHONPATH="$$tool" $(PYTHON) -m looseleaf.update.apply; \
	else echo "No update was interrupted here. To undo a completed one, run git restore ." >&2; exit 1; fi
else
update: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## update to the template's newest release if that is safe (DRY_RUN=1 TO=… SET=name=value TAKE=FILE DIFF=1 ABORT=1)
	@$(UPDATE)
endif

# git sends the token to the CI host's own address only, to fetch a template that is not public.
ifneq ($(and $(LOOSELEAF_READ_TOKEN),$(or $(GITHUB_SERVER_URL),$(CI_SERVER_URL))),)
propose provenance: export GIT_CONFIG_COUNT := 1
propose provenance: export GIT_CONFIG_KEY_0 := credential.$(or $(GITHUB_SERVER_URL),$(CI_SERVER_URL)).helper
propose provenance: export GIT_CONFIG_VALUE_0 := !f() { [ "$$1" != get ] || printf 'username=x-access-token\npassword=%s\n' "$$LOOSELEAF_READ_TOKEN"; }; f
endif
propose: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## prepare the pull or merge request of an update (for CI; lifecycle/docs/updates.md)
	@$(ISOLATED) propose

# `looseleaf` itself comes from the template, so any code but 3 means that the template is not reachable.
provenance: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## compare lifecycle/ with the template's release, or print a notice where that is not reachable (for CI)
	@code=0; $(ISOLATED) provenance || code=$$?; [ "$$code" != 3 ] || exit 1; [ "$$code" = 0 ] || \
	echo "$${GITHUB_ACTIONS:+::notice::}The template is not reachable: lifecycle/ was not compared with its release."

eject: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## leave the template: no more updates; lifecycle/ and its tests become your own files
	@$(ISOLATED) eject
# --- End of the updates

# The second `uv lock` removes the date from uv.lock and keeps the versions. An index without upload times cannot resolve by date.
uv.lock: | $(filter .uv/bin/uv,$(UV))
	@[ -z "$$CI" ] || { echo "There is no uv.lock: run make setup and commit uv.lock." >&2; exit 1; }
	UV_EXCLUDE_NEWER=$(RELEASED) $(UV) lock || $(UV) lock
	$(UV) lock

.uv/bin/uv: INDEX = $(or $(UV_DEFAULT_INDEX),$(ORG_INDEX_URL))
.uv/bin/uv:
	$(PYTHON) -m venv .uv
	PIP_USER=0 .uv/bin/pip install --quiet $(if $(INDEX),--index-url $(call quote,$(INDEX))) uv==$(UV_VERSION)

$(RUN):
	@echo "There is no environment yet: run make setup." >&2; exit 1

# Lint and types cover the team's code only: the template checks lifecycle/ itself, and the manifest shows edits of it. The
# options repeat what pyproject.toml says, because repositories of older releases do not have it there. Without the last one,
# ruff would sort imports of renamed modules of the lifecycle with those of other packages.
RUFF_OPTIONS := --extend-exclude lifecycle --config 'lint.isort.known-first-party = ["lifecycle", "model"]'
check: $(RUN) ## check lint, formatting and types; check that the contract, features.sql, config and OWNERS agree
	@.venv/bin/python lifecycle/tools/manifest_check.py
	.venv/bin/ruff check $(RUFF_OPTIONS)
	.venv/bin/ruff format --check $(RUFF_OPTIONS)
	.venv/bin/mypy --follow-imports=silent src
	$(RUN) check

test: $(RUN) ## run the team's tests: data, behaviour, gates
	@mkdir -p build; [ -e build/.gitignore ] || echo '*' > build/.gitignore
	.venv/bin/pytest --junitxml=build/tests.xml

smoke: $(RUN) ## train, promote and predict if the tables are available, else print a notice (for CI)
	@code=0; $(RUN) tables || code=$$?; if [ "$$code" = 3 ]; then \
		echo "$${GITHUB_ACTIONS:+::notice::}The tables are not available: skipped $(SMOKE). See lifecycle/docs/data.md."; \
	else $(MAKE) --no-print-directory $(SMOKE); fi

contract: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## write a contract for your table (DATA=FILE LABEL=… KEY=… TIME=… DIFF=1); without DATA, rewrite contract.json
	@$(if $(call given,DATA),$(INFER),$(RUN) contract)

lift: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## carry a notebook over, verified against its own predictions (NOTEBOOK=FILE DATA=… LABEL=… KERNEL=… WITH=… DRY_RUN=1)
	@$(LIFT)

graduate: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## name the SQL or scikit-learn step for each learned line of a lifted notebook, checked on its golden rows
	@$(LOOSELEAF) graduate

sample: $(RUN) ## write the sample tables to data/ (DRIFT=1: with a known drift)
	$(RUN) sample $(if $(call given,DRIFT),--drift)

config: $(RUN) ## list every setting, its value and its source (ENVIRONMENT=…)
	$(RUN) config $(environment)

# JupyterLab would load news from its hosts, and versions and extensions from a package index.
NO_NEWS := --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.extension_manager=readonly
notebook: $(RUN) ## open notebooks/ in Jupyter (downloads Jupyter on the first run)
	@[ -d notebooks ] || { echo "There is no folder notebooks/. Create it, or restore it: git log -- notebooks" >&2; exit 1; }
	$(UV) run --locked --group notebook jupyter lab $(NO_NEWS) notebooks

train: $(RUN) ## fit, evaluate against the baselines, write a bundle (AS_OF=TIME REASON=… FORCE=1 WHY="…")
	$(RUN) train $(environment) $(call option,--as-of,AS_OF) $(call option,--reason,REASON) $(call flag,--force,FORCE) \
		$(call option,--why,WHY)

promote: $(RUN) ## deploy a bundle that passes the gate (VERSION=… ENVIRONMENT=… THRESHOLD=… REASON=… WHY="…"; OVERRIDE="…" in spite of its checks)
	$(RUN) promote $(environment) $(call option,--threshold,THRESHOLD) $(call option,--reason,REASON) $(call option,--why,WHY) \
		$(call option,--override,OVERRIDE) $(call option,--,VERSION)

approve: $(RUN) ## approve a bundle for production (VERSION=… ENVIRONMENT=production THRESHOLD=… WHY="…")
	$(RUN) approve $(environment) $(call option,--threshold,THRESHOLD) $(call option,--why,WHY) $(call option,--,VERSION)

rollback: $(RUN) ## deploy the previous bundle again (ENVIRONMENT=… WHY="…")
	$(RUN) rollback $(environment) $(call option,--why,WHY)

# Other programs, each installed in an environment of its own.
INTEROP = UV="$(UV)" PYTHONPATH=lifecycle/tools .venv/bin/python -m interop $(environment) $(call assign,--version,VERSION)
bundle: $(RUN) | $(if $(call given,TO)$(filter-out 1,$(call given,SIGN)),$(filter .uv/bin/uv,$(UV))) ## carry a version to another storage as one file (EXPORT=FILE VERSION=…, there IMPORT=FILE), sign it (SIGN=1, or SIGN=KEY.pem, VERSION=…), or write it in the format of another program (TO=mlflow, huggingface or cyclonedx EXPORT=FOLDER)
	$(if $(or $(call given,EXPORT),$(call given,IMPORT),$(call given,SIGN)),,$(error make bundle requires EXPORT=FILE, IMPORT=FILE, or SIGN=1 with VERSION=…))
	$(if $(filter-out 1,$(call given,SIGN)),@$(INTEROP) sign $(call option,--,SIGN) $(call option,,VERSION),$(if $(call given,TO),@$(INTEROP) export $(call assign,--to,TO) $(call option,--,EXPORT),\
	$(RUN) bundle $(environment) $(if $(call given,IMPORT),import $(call option,--file,IMPORT),$(or $(call flag,sign,SIGN),export $(call option,--file,EXPORT)) $(call option,--,VERSION))))

conform: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## verify that six other programs read the deployed version correctly (VERSION=… ENVIRONMENT=…)
	@$(INTEROP) conform

card: $(RUN) ## write docs/model-card.md for the deployed version; make check compares it (VERSION=… ENVIRONMENT=…)
	@$(INTEROP) card

owners: $(RUN) ## derive CODEOWNERS and other files from OWNERS, and check them
	$(RUN) owners derive
	$(RUN) owners check

slo: $(RUN) ## derive alerts on the error budget, in docs/slo-rules.yml, from the objectives in docs/slo.yaml
	@[ -e lifecycle/tools/slo.py ] || { echo "error: there is no service: make update SET='usage=[online, batch]' adds it" >&2; exit 1; }
	@.venv/bin/python lifecycle/tools/slo.py

collect: $(RUN) ## convert the service's prediction log to Parquet, and remove what is too old (ENVIRONMENT=…)
	$(RUN) collect $(environment)

labels: $(RUN) ## import the labels of a CSV or Parquet file (FILE=… SEEN=TIME); without FILE, show how many are known
	$(RUN) labels $(environment) $(if $(call given,FILE),add $(call option,--seen,SEEN) $(call option,--,FILE),coverage)

erase: $(RUN) ## erase every logged row, score and label of a key or an id (KEY=… or ID=…)
	$(RUN) erase $(environment) $(call assign,--id,ID) $(call option,--,KEY)

monitor: $(RUN) ## check inputs, predictions and labels: ok, no data, watch, retrain or incident (AS_OF=TIME ENVIRONMENT=…)
	$(RUN) monitor $(environment) $(call option,--as-of,AS_OF)

accept: $(RUN) ## accept what monitoring found in a column as legitimate (COLUMN=… WHY="…" ENVIRONMENT=…)
	$(RUN) accept $(environment) $(call option,--why,WHY) $(call option,--,COLUMN)

retrain: $(RUN) ## train again and promote if the gate passes (REASON=… FORCE=1 WHY="…"; DUE=1 only if something demands it)
	$(RUN) retrain $(environment) $(call option,--reason,REASON) $(call flag,--force,FORCE) $(call flag,--due,DUE) \
		$(call option,--why,WHY)

history: $(RUN) ## list which version and threshold were deployed when, by whom and why (AT=TIME ENVIRONMENT=…)
	$(RUN) history $(environment) $(call option,--at,AT)

features: $(RUN) ## compute the feature table of the service (AS_OF=TIME)
	$(RUN) features $(environment) $(call option,--as-of,AS_OF)

serve: $(RUN) ## run the service on this machine (PORT=8000 WORKERS=1 ENVIRONMENT=…)
	$(RUN) serve $(environment) $(call option,--port,PORT) $(call option,--workers,WORKERS)

client: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## build a typed client of the service, as a wheel in dist/ (BUILD=1)
	@UV="$(UV)" $(RUN) client $(environment) $(call option,--build,BUILD)

year: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## simulate a year of the sample: traffic, late labels, drift, retraining, rollback
	@$(LOOSELEAF) year

ready: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## compute the ML Test Score of the deployed version, after drills in a copy (ENVIRONMENT=… ANNEX=1 DRY_RUN=1)
	@$(LOOSELEAF) ready $(environment) $(call flag,--annex,ANNEX) $(call flag,--dry-run,DRY_RUN)

score: $(RUN) ## predict for everyone on a day (DATE=2026-01-01) or a range (FROM=… TO=…), or a file (INPUT=… OUTPUT=…)
	$(RUN) score $(environment) $(call option,--date,DATE) $(call option,--from,FROM) $(call option,--to,TO) \
		$(call option,--input,INPUT) $(call option,--output,OUTPUT)

PLATFORM := make update SET=platform=kubernetes TAKE='deploy config/Kustomization'
needs = [ -e $(1) ] || { echo "error: there is no $(1); $(PLATFORM) adds it" >&2; exit 1; }
image: $(RUN) ## build a container image (TARGET=serve, jobs or all, BAKE=1 ENVIRONMENT=… ENGINE=… OPTIONS="…" AUDIT=1 PUSH=REGISTRY)
	@$(call needs,deploy/Containerfile)
	@UV="$(UV)" .venv/bin/python lifecycle/tools/image.py --uv $(UV_VERSION) $(environment) $(call option,--target,TARGET) \
		$(call flag,--bake,BAKE) $(call option,--engine,ENGINE) $(call assign,--options,OPTIONS) $(call assign,--push,PUSH) \
		$(call flag,--audit,AUDIT) $(call assign,--scanner,SCANNER) $(ignored)

up: $(RUN) ## start the jobs, and the service with its monitoring, in containers (ENVIRONMENT=… PORT=… COMPOSE=… OPTIONS="…")
	@$(call needs,deploy/compose.yaml)
	@.venv/bin/python lifecycle/tools/compose.py up --uv $(UV_VERSION) $(environment) $(call option,--compose,COMPOSE) \
		$(call assign,--options,OPTIONS)

down: $(RUN) ## stop the containers of make up; their volumes remain (ENVIRONMENT=… COMPOSE=…)
	@$(call needs,deploy/compose.yaml)
	@.venv/bin/python lifecycle/tools/compose.py down --uv $(UV_VERSION) $(environment) $(call option,--compose,COMPOSE)

DEPLOY = .venv/bin/python lifecycle/tools/deploy.py $(environment) $(call assign,--image,IMAGE)
manifests: $(RUN) ## render and check the Kubernetes objects, into build/manifests/ (ENVIRONMENT=… IMAGE=… DRAFT=1)
	@if [ -n "$(call given,DRAFT)" ] && [ ! -e deploy/kubernetes ]; then echo "There is no deploy/kubernetes to check."; \
	else $(call needs,deploy/kubernetes); $(DEPLOY) $(call flag,--draft,DRAFT); fi

deploy: $(RUN) ## show what changes in the cluster, apply it, wait for the pods (ENVIRONMENT=… IMAGE=… DRY_RUN=1)
	@$(call needs,deploy/kubernetes)
	@$(DEPLOY) $(or $(call flag,--dry-run,DRY_RUN),--apply)

lifecycle/tools/audit.py lifecycle/tools/scheduled.py lifecycle/tools/supply_chain.py:
	@echo "error: there is no $@; $(PLATFORM) adds it" >&2; exit 1

scheduled: $(RUN) lifecycle/tools/scheduled.py ## collect, monitor, and retrain if due; build/scheduled/ has what a person must read (for CI; ENVIRONMENT=…)
	@.venv/bin/python lifecycle/tools/scheduled.py run $(environment)

ignored = $(addprefix --ignore=,$(AUDIT_IGNORE))
audit: $(RUN) lifecycle/tools/audit.py | $(filter .uv/bin/uv,$(UV)) ## look for vulnerable dependencies, secrets, and faults of deploy/Containerfile, or in an image (IMAGE=… ENGINE=… SCANNER=…)
	@UV="$(UV)" .venv/bin/python lifecycle/tools/audit.py $(call assign,--image,IMAGE) $(call option,--engine,ENGINE) \
		$(call assign,--scanner,SCANNER) $(ignored)

sbom: $(RUN) lifecycle/tools/supply_chain.py | $(filter .uv/bin/uv,$(UV)) ## list dependencies and deployed model with their hashes, in build/sbom.json (CycloneDX; ENVIRONMENT=…)
	@UV="$(UV)" .venv/bin/python lifecycle/tools/supply_chain.py $(environment)

# How this model lives: every verb, run from the project's own environment, so that only `make setup` needs a network.
# The template's: an update replaces this file. Targets of your own belong in the Makefile that includes it.

# The template's release date. The first `make setup` and every `make upgrade` resolve as of it; uv.lock keeps the result.
RELEASED := 2026-11-23T00:00:00Z

include lifecycle/org.mk
ifneq ($(UV_DEFAULT_INDEX),)
export UV_DEFAULT_INDEX
endif

# Where it is set (images, CI), every command would import its libraries uncompiled: 8 seconds instead of 3.
unexport PYTHONDONTWRITEBYTECODE
# The environment is always .venv, whichever other one is active.
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT

PYTHON ?= python3
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
RUN := .venv/bin/lifecycle

# `$(call option,--why,WHY)` is `--why 'the text'` where the call of make gives WHY, and nothing where it does not:
# a CI host exports a VERSION or an ENVIRONMENT of its own. The text arrives as it was given, `$` included.
quote = '$(subst ','\'',$(1))'
given = $(if $(filter command,$(origin $(1))),$(value $(1)))
option = $(if $(call given,$(2)),$(1) $(call quote,$(call given,$(2))))
assign = $(if $(call given,$(2)),$(1)=$(call quote,$(call given,$(2))))
flag = $(if $(call given,$(2)),$(1))
environment = $(call option,--environment,ENVIRONMENT)
# What `make smoke` runs, and the verbs of each way to use predictions: online.mk and batch.mk add theirs.
SMOKE := train promote
USAGE :=
# The template's own command, from the source and commit that .copier-answers.yml records (or LOOSELEAF_SOURCE names).
LOOSELEAF = template=$$($(RUN) template) && $(UV) run --quiet --no-sync "$$template" looseleaf
INFER = $(LOOSELEAF) contract infer $(call assign,--data,DATA) $(call assign,--label,LABEL) $(call assign,--key,KEY) \
	$(call assign,--time,TIME) $(call assign,--answer,ANSWER) $(call assign,--keep,KEEP) \
	$(call flag,--diff,DIFF) $(call flag,--force,FORCE) $(call flag,--yes,YES)
# An update renews the repository's environment, and so runs in one of its own.
APART = template=$$($(RUN) template) && $(UV) run --quiet --isolated --no-project "$$template" looseleaf
UPDATE = $(APART) update \
	$(call flag,--dry-run,DRY_RUN) $(call assign,--to,TO) $(call assign,--set,SET) $(call assign,--take,TAKE) \
	$(call assign,--format,FORMAT) $(call assign,--output,OUTPUT)

.DEFAULT_GOAL := help
# The goals of one call are steps in the order given, whatever MAKEFLAGS says.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup upgrade update propose check test smoke contract sample config notebook train promote approve rollback owners

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: uv.lock ## install everything into .venv, and the commit hooks where this is a git repository
	$(UV) sync --locked
	@if [ ! -e .git ]; then echo "No commit hooks: this is no git repository. After git init, run make setup again."; \
	elif [ -n "$$(git config core.hooksPath)" ]; then echo "No commit hooks: git's core.hooksPath names its own."; \
	else .venv/bin/pre-commit install; fi

upgrade: | $(filter .uv/bin/uv,$(UV)) ## resolve again, as of the template's release date, and install
	UV_EXCLUDE_NEWER=$(RELEASED) $(UV) lock --upgrade || $(UV) lock --upgrade
	$(UV) lock
	$(UV) sync --locked

ifneq ($(call given,ABORT),)
# Half of lifecycle/ may be of another release: what restores it came with the copy.
update:
	@tool=$$(git rev-parse --git-path looseleaf-update)/tool; \
	if [ -d "$$tool" ]; then PYTHONPATH="$$tool" $(PYTHON) -m looseleaf.update.apply; \
	else echo "No update was interrupted here. After a finished one, git restore . goes back." >&2; exit 1; fi
else
update: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## take the template's newest release, if that is safe (DRY_RUN=1 TO=… SET=name=value TAKE=FILE ABORT=1)
	@$(UPDATE)
endif

# The token answers git at the CI host's own address and nowhere else: for the push, and for a template that is not public.
ifneq ($(or $(GITHUB_SERVER_URL),$(CI_SERVER_URL)),)
propose: export GIT_CONFIG_COUNT := 1
propose: export GIT_CONFIG_KEY_0 := credential.$(or $(GITHUB_SERVER_URL),$(CI_SERVER_URL)).helper
propose: export GIT_CONFIG_VALUE_0 := !f() { [ "$$1" != get ] || printf 'username=x-access-token\npassword=%s\n' "$${LOOSELEAF_TOKEN:-$$GITHUB_TOKEN}"; }; f
endif
propose: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## an update of the template as a pull or merge request (for CI; lifecycle/docs/updates.md)
	@$(APART) propose

# The second `uv lock` drops the date and keeps the versions. An index without upload times cannot resolve by date.
uv.lock: | $(filter .uv/bin/uv,$(UV))
	@[ -z "$$CI" ] || { echo "There is no uv.lock: run make setup and commit uv.lock." >&2; exit 1; }
	UV_EXCLUDE_NEWER=$(RELEASED) $(UV) lock || $(UV) lock
	$(UV) lock

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet $(if $(UV_DEFAULT_INDEX),--index-url $(call quote,$(UV_DEFAULT_INDEX))) uv

$(RUN):
	@echo "There is no environment here yet: run make setup." >&2; exit 1

check: $(RUN) ## lint, formatting, types; the contract, features.sql, config and OWNERS agree
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	$(RUN) check

test: $(RUN) ## the team's tests: data, behaviour, gates
	.venv/bin/pytest

smoke: $(RUN) ## from training to an answer, where the tables are; a notice where they are not (for CI)
	@code=0; $(RUN) tables || code=$$?; if [ "$$code" = 3 ]; then \
		echo "$${GITHUB_ACTIONS:+::notice::}The tables are not here: no $(SMOKE). See lifecycle/docs/data.md."; \
	else $(MAKE) --no-print-directory $(SMOKE); fi

contract: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## a contract for your table (DATA=FILE LABEL=… KEY=… TIME=… DIFF=1); without DATA, rewrite contract.json
	@$(if $(call given,DATA),$(INFER),$(RUN) contract)

sample: $(RUN) ## write the sample tables into data/ (DRIFT=1: with a known drift)
	$(RUN) sample $(if $(call given,DRIFT),--drift)

config: $(RUN) ## every setting, its value and where it comes from (ENVIRONMENT=…)
	$(RUN) config $(environment)

notebook: $(RUN) ## open notebooks/ in Jupyter (the first time, it downloads Jupyter)
	$(UV) run --locked --group notebook jupyter lab notebooks

train: $(RUN) ## fit, evaluate against the baselines, write a bundle (AS_OF=MOMENT REASON=…)
	$(RUN) train $(environment) $(call option,--as-of,AS_OF) $(call option,--reason,REASON)

promote: $(RUN) ## let a bundle answer, if the gate agrees (VERSION=… ENVIRONMENT=… THRESHOLD=… REASON=… WHY="…")
	$(RUN) promote $(call option,,VERSION) $(environment) $(call option,--threshold,THRESHOLD) $(call option,--reason,REASON) $(call option,--why,WHY)

approve: $(RUN) ## approve a bundle for production (VERSION=… ENVIRONMENT=production THRESHOLD=… WHY="…")
	$(RUN) approve $(call option,,VERSION) $(environment) $(call option,--threshold,THRESHOLD) $(call option,--why,WHY)

rollback: $(RUN) ## let the previous bundle answer again (ENVIRONMENT=… WHY="…")
	$(RUN) rollback $(environment) $(call option,--why,WHY)

owners: $(RUN) ## derive CODEOWNERS and what else follows from OWNERS, and check it
	$(RUN) owners derive
	$(RUN) owners check

# What watches and renews what answers.
include lifecycle/loop.mk

# The answer `usage` says which of them there are. The command tells what became of a verb that is not.
-include lifecycle/online.mk lifecycle/batch.mk
.PHONY: features serve client score
$(filter-out $(USAGE),features serve client score): $(RUN)
	@$(RUN) $@

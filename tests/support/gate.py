"""Candidates, champions and promotions for the tests of the gate."""

import functools
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle.contract.team import Team
from lifecycle.jobs.promote import promote
from lifecycle.models.bundle import Bundle
from lifecycle.registry import Identity, deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.settings import Settings
from lifecycle.training import Decision
from lifecycle.training.gate import Case
from lifecycle.training.train import train
from support.teams import order_team, settings_in

ANA = Identity("ana", "login")


def weak(team: Team, **limits: Any) -> Team:
    """Return the same team with a candidate of less capacity."""
    made = SimpleNamespace(
        candidate=lambda inputs, seed: HistGradientBoostingClassifier(random_state=seed, **limits),
        baselines=team.estimator.baselines,
    )
    return replace(team, estimator=made)


# Kept by the process, not by a session of pytest: the processes that mutmut forks for its mutants have the models, too.
@functools.cache
def trained_pair() -> tuple[Settings, Bundle, Bundle]:
    """Train a champion in `local` and a better candidate that is compared with it, in a new storage."""
    folder = Path(_folder().name)
    settings, team = settings_in(folder), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, settings.storage)
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), action="promote", who="ana", why="")
    return settings, first, train(team, settings, settings.storage)


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    # Not below `tempfile.tempdir`, which a session of pytest removes when it ends.
    return tempfile.TemporaryDirectory(prefix="gate-", dir=os.environ.get("TMPDIR", "/tmp"))


def promoted(settings: Settings, **given: Any) -> deployments.Deployment:
    """Promote in `local`, by default the newest version."""
    usual: dict[str, Any] = {"version": None, "threshold": None, "who": ANA, "why": ""}
    return promote(settings, order_team(rows=4000).data, "local", **usual | given, root=settings.storage)


def own(settings: Settings, folder: Path) -> Settings:
    """Return settings of a storage with the same bundles, and deployments and reports of the test's own."""
    storage = folder / "storage"
    storage.mkdir()
    (storage / "bundles").symlink_to(settings.storage / "bundles")
    return settings.model_copy(update={"storage": storage})


def failed(decision: Decision) -> list[str]:
    """Return the names of the checks that did not pass."""
    return [check.name for check in decision.checks if not check.passed]


def faults(decision: Decision) -> list[str]:
    """Return the explanations of the checks that did not pass, with what to do about each."""
    return [check.fault for check in decision.checks if not check.passed]


def swapped(case: Case) -> Case:
    """Exchange the predictions of candidate and champion, so that the candidate is worse."""
    given, opponent = case.evidence.predictions, case.champion.version if case.champion else ""
    slices = {name: each | {"mean": -each["mean"]} for name, each in case.evidence.slices[opponent].items()}
    turned = given | {"candidate": given[opponent], opponent: given["candidate"]}
    return replace(case, evidence=replace(case.evidence, predictions=turned, slices={opponent: slices}))

"""Promotion and rollback of versions trained on the sample, and the feature tables they need."""

import html
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle import timestamps
from lifecycle.errors import LifecycleError, Refused
from lifecycle.features import FeatureTable, table_path
from lifecycle.jobs import materialize
from lifecycle.jobs.promote import rollback
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.registry import deployments
from lifecycle.settings import Settings
from lifecycle.training.train import train
from support.jobs import BO, promoted
from support.teams import order_team, sample_team, settings_in

DAY = date(2025, 11, 1)


def test_the_first_promotion_records_a_reason_and_fills_the_feature_table(settings: Settings, trained: Any) -> None:
    done = promoted(settings)
    assert done.current == deployments.Deployed(trained[1].version, 0.5)
    assert "of the trivial baseline" in done.why
    assert table_path(settings.store, trained[1].feature_set).exists()
    assert promoted(settings) == done, "promoting the deployed version changes nothing"
    assert promoted(settings, threshold=0.3).current.threshold == 0.3
    assert promoted(settings).current.threshold == 0.3, "a threshold belongs to the deployment, not to the version"


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_that_is_not_a_probability_is_refused(settings: Settings, threshold: float) -> None:
    with pytest.raises(LifecycleError, match="not a probability"):
        promoted(settings, threshold=threshold)


def shuffled_fit(settings: Settings) -> Bundle:
    """Return a version trained on labels in the wrong order."""

    class Worse(HistGradientBoostingClassifier):  # type: ignore[misc]
        def fit(self, matrix: Any, label: Any) -> Any:
            return HistGradientBoostingClassifier(random_state=0).fit(
                matrix, np.random.default_rng(0).permutation(label)
            )

    usual = sample_team().estimator
    worse = SimpleNamespace(
        candidate=lambda inputs, seed: Worse(),
        # A linear model would replace it: here it is the trivial one.
        baselines=lambda inputs, seed: (
            usual.baselines(inputs, seed) | {"linear": usual.baselines(inputs, seed)["trivial"]}
        ),
    )
    return train(sample_team(estimator=worse), settings, Path())


def test_a_worse_model_is_refused_and_nothing_changes(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    shuffled_fit(settings)
    with pytest.raises(Refused, match="not surely better than answering without looking"):
        promoted(settings)
    assert deployments.read(settings.store, "local") is None


def test_a_refusal_suggests_commands_for_its_environment_and_reason(trained: Any, tmp_path: Path) -> None:
    settings = trained[0].model_copy(update={"storage": tmp_path})
    shuffled_fit(settings)
    pages: list[Path] = []
    with pytest.raises(Refused) as caught:
        promoted(settings, environment="staging", reason="drift", on_decision=pages.append)
    for text in (str(caught.value), html.unescape(pages[0].read_text())):
        assert (commands := re.findall("`(make [^`]+)`", text))
        assert all(" REASON=drift ENVIRONMENT=staging" in command for command in commands), commands


def test_a_holdout_with_too_few_rows_is_refused(settings: Settings) -> None:
    strict = settings.model_copy(update={"gate": settings.gate.model_copy(update={"min_rows": 10**6})})
    with pytest.raises(Refused, match="decide nothing"):
        promoted(strict)


def test_rollback_restores_version_and_threshold(settings: Settings) -> None:
    with pytest.raises(LifecycleError, match="nothing is deployed"):
        rollback(settings, sample_team().data, "local", BO, "", settings.storage)
    first = promoted(settings, threshold=0.4)
    with pytest.raises(LifecycleError, match="no version to roll back to"):
        rollback(settings, sample_team().data, "local", BO, "", settings.storage)
    promoted(settings, threshold=0.6)
    back = rollback(settings, sample_team().data, "local", BO, "too many calls", settings.storage)
    assert (back.current, back.who, back.why) == (first.current, "bo", "too many calls")
    with pytest.raises(LifecycleError, match="no version to roll back to"):
        rollback(settings, sample_team().data, "local", BO, "the job ran twice", settings.storage)
    actions = [line.split('"action": "')[1].split('"')[0] for line in settings.store.audit.read_text().splitlines()]
    assert actions == ["promote", "promote", "rollback"]


def test_a_contract_that_breaks_callers_is_refused_without_an_override(copied: Settings) -> None:
    settings, team = copied, sample_team()
    promoted(settings)
    columns = tuple(c for c in team.contract.columns if c.name != "discount")
    narrower = replace(team.contract, columns=columns)
    train(replace(team, contract=narrower), settings, Path())
    gone = r"failed: it breaks callers of contract version 1 \(x-contract-version\): the request field discount is gone"
    with pytest.raises(Refused, match=gone):
        promoted(settings)
    train(replace(team, contract=replace(narrower, version=2)), settings, Path())
    # Without the discount it ranks worse, by a few points of ROC AUC.
    with pytest.raises(Refused, match=r"worse by more than 0\.015, the limit of a new major version"):
        promoted(settings)
    settings = settings.model_copy(update={"gate": settings.gate.model_copy(update={"margin": 0.1})})
    # A new major version does not inform the callers of the old one.
    with pytest.raises(Refused, match=f"{gone}; their client refuses responses of version 2") as caught:
        promoted(settings)
    assert "worse" not in str(caught.value)
    assert 'OVERRIDE="reason"' in caught.value.hint
    assert promoted(settings, override="the caller is replaced").current.version == settings.store.versions()[-1]


def test_promotion_fills_only_missing_feature_tables_and_features_fills_all(settings: Settings, trained: Any) -> None:
    data = sample_team().data
    assert materialize(settings, data) == {}
    promoted(settings)
    path = table_path(settings.store, trained[1].feature_set)
    stamp = path.stat().st_ino
    promoted(settings, threshold=0.2)
    assert path.stat().st_ino == stamp
    written = materialize(settings, data, timestamps.midnight(DAY))
    assert path.stat().st_ino != stamp
    assert written[trained[1].version].endswith("as of 2025-11-01T00:00:00Z")


def test_a_version_that_is_promoted_again_gets_fresh_features(copied: Settings) -> None:
    """While other versions are deployed, its feature table is not refreshed."""
    settings, team = copied, sample_team()
    first = open_version(settings.store, *settings.store.versions())
    promoted(settings)
    materialize(settings, team.data, timestamps.midnight(DAY))
    for at in range(2):
        train(replace(team, features_sql=f"{team.features_sql} -- {at}"), settings, Path())
        promoted(settings)
    path = table_path(settings.store, first.feature_set)
    assert FeatureTable(path, first.contract).as_of == timestamps.midnight(DAY)
    promoted(settings, version=first.version, override="the newer ones were never better")
    assert FeatureTable(path, first.contract).as_of == timestamps.midnight(date(2026, 1, 1))


def test_versions_trained_within_one_second_keep_their_order(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    made = [train(order_team(rows=200), settings, tmp_path).version for _ in range(4)]
    assert settings.store.versions() == made


def test_a_broken_version_does_not_prevent_the_features_of_the_others(copied: Settings) -> None:
    settings, team = copied, sample_team()
    first = open_version(settings.store, *settings.store.versions())
    promoted(settings)
    second = train(replace(team, features_sql=f"{team.features_sql} -- again"), settings, Path())
    promoted(settings)
    (first.path / "golden.jsonl").unlink()
    table_path(settings.store, second.feature_set).unlink()
    with pytest.raises(LifecycleError, match=r"lacks golden\.jsonl"):
        materialize(settings, team.data)
    assert table_path(settings.store, second.feature_set).exists()

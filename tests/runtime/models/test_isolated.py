"""A conversion has limits of time and memory: one that exceeds them is a reason, never a traceback or a hang."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle.models import export as exporting
from lifecycle.models.export import Limits, Stopped, limited
from lifecycle.training.train import train
from support import PATIENCE
from support.exports import HOLDOUT, Entry, fitted, rows
from support.teams import order_team, settings_in

LIMITS = Limits(seconds=60, megabytes=2048)


@pytest.fixture(autouse=True)
def conversions_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "limited", limited)


@pytest.mark.parametrize(
    ("limits", "call", "reason"),
    [
        (Limits(0.5, 2048), (time.sleep, 600), r"it takes longer than 0\.5 s \(setting train\.export_seconds\)"),
        (Limits(60, 512), (bytearray, 2**33), r"it needs more than 512 MB of memory \(setting train\.export_mb\)"),
        (LIMITS, (os.abort,), "its process ended with SIGABRT"),
        (LIMITS, (os._exit, 3), "its process ended with code 3"),
        (LIMITS, (print, lambda: 0), r"it cannot be sent to another process \("),
        (LIMITS, (int, "no number"), "its process ended with code 1"),
    ],
    ids=["time", "memory", "signal", "exit", "not sent", "error"],
)
def test_a_call_that_returns_nothing_is_stopped_with_the_reason(
    limits: Limits, call: tuple[Any, ...], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with pytest.raises(Stopped, match=reason):
        limited(limits, *call)
    assert time.monotonic() - began < PATIENCE
    assert capfd.readouterr() == ("", "")


def test_what_a_call_prints_is_not_its_result() -> None:
    assert limited(LIMITS, print, "a warning of a library") is None


def test_the_graph_and_the_report_are_those_of_this_process() -> None:
    model = fitted(Entry("boosting", lambda: HistGradientBoostingClassifier(max_iter=20, random_state=0)))
    holdout, _ = rows(HOLDOUT, 2, False)
    outputs = model.predict_matrix(holdout)
    here, there = (exporting.export(model, holdout, outputs, 0, limits) for limits in (None, LIMITS))
    assert there.report == here.report
    # Both graphs have a random name.
    assert there.graph is not None
    assert len(there.graph) == len(here.graph or b"")


@pytest.mark.filterwarnings("ignore")
def test_without_a_limit_of_time_no_other_process_converts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "limited", None)
    assert train(order_team(), settings_in(tmp_path, train={"export_seconds": 0}), tmp_path).kind == "onnx"


@pytest.mark.filterwarnings("ignore")
def test_an_estimator_that_does_not_convert_in_time_is_kept_with_skops(tmp_path: Path) -> None:
    bundle = train(order_team(), settings_in(tmp_path, train={"export_seconds": 0.01}), tmp_path)
    report = json.loads(bundle.read("export.json"))
    assert (bundle.kind, report["kind"]) == ("skops", "skops")
    assert report["reason"] == (
        "HistGradientBoostingClassifier was not converted: it takes longer than 0.01 s (setting train.export_seconds)"
    )
    assert np.isfinite(bundle.facts["metrics"]["candidate"]["log_loss"])

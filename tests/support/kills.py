"""A kill before and after every flush and rename of a job leaves a storage that loads and with which jobs continue."""

import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from functools import partial
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic_core import to_json
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle import reports, timestamps
from lifecycle.contract.rows import RowReader
from lifecycle.jobs import retrain
from lifecycle.jobs.promote import promote, rollback
from lifecycle.jobs.retrain import Request, Run
from lifecycle.models import export as exporting
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.monitoring import monitor
from lifecycle.monitoring.collect import collect
from lifecycle.registry import Identity, deployments, predictions
from lifecycle.registry.deployments import Deployed, Deployment
from lifecycle.scoring import score
from lifecycle.serving.deployed import DeployedModel
from lifecycle.serving.prediction_log import PredictionLog
from lifecycle.settings import Log, Settings
from lifecycle.storage import Store
from lifecycle.training.train import train
from support.logs import ROW
from support.storages import Storage
from support.teams import TARGETS, estimator_of, order_team, settings_in

ANA = Identity("ana", "login")
POINTS = ("fsync", "replace")
MOST, PATIENCE = 60, 60
GATE, TRAIN = {"resamples": 100}, {"windows": 0}
# The process that limits a conversion takes a while to start, as drawing charts does; both are replaced.
exporting.limited = lambda limits, function, *arguments: function(*arguments)  # type: ignore[assignment]
reports._svg = lambda title, labels, draw, text: text  # type: ignore[assignment,return-value]


def killed(work: Callable[[], object], point: int, before: bool, points: tuple[str, ...] = POINTS) -> bool:
    """Do the work in a process that is killed before or after its point-th call; return False when it has fewer."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, "the work hung"
            return True
        assert os.WEXITSTATUS(status) == 0, "the work failed before it was killed"
        return False
    signal.alarm(PATIENCE)
    try:
        calls = itertools.count(1)

        def counted(usual: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any) -> Any:
                # A number of its own: a job calls from several threads.
                at = next(calls)
                if at == point and before:
                    os.kill(os.getpid(), signal.SIGKILL)
                found = usual(*given)
                if at == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                return found

            return call

        for name in points:
            setattr(os, name, counted(getattr(os, name)))
        work()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def every(work: Callable[[Settings], object], sound: Path, folder: Path) -> Iterator[tuple[Settings, str]]:
    """Yield the storage that each kill leaves, and where the kill was."""
    for point in range(1, MOST):
        for before in (True, False):
            name = f"{'before' if before else 'after'} {point}"
            shutil.copytree(sound, folder / name / "storage")
            settings = settings_in(folder / name, gate=GATE, train=TRAIN)
            if not killed(lambda settings=settings: work(settings), point, before):  # type: ignore[misc]
                return
            yield settings, name
    raise AssertionError(f"there are more than {MOST} points")


def loads(store: Store) -> str | None:
    """Load everything that readers load; return the deployed version."""
    for version in store.versions():
        Predictor(open_version(store, version))
    found = deployments.read(store, "local")
    assert deployments.periods(store, "local")
    if found:
        assert found.current.version in store.versions()
    return found.current.version if found else None


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a champion and a better candidate that was compared with it."""
    folder = tmp_path_factory.mktemp("sound")
    settings, team = settings_in(folder, train=TRAIN), order_team(rows=1500)
    shallow = HistGradientBoostingClassifier(max_iter=3, max_depth=2)
    weak = SimpleNamespace(candidate=lambda inputs, seed: shallow, baselines=team.estimator.baselines)
    first = train(replace(team, estimator=weak), settings, folder)
    given: dict[str, Any] = {"action": "promote", "who": "ana", "why": ""}
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), **given)
    train(team, settings, folder)
    return settings.storage


def doing_train(settings: Settings) -> None:
    # How well it predicts does not matter, and it is trained for each point.
    quick = estimator_of(TARGETS["binary"], iterations=5)
    train(order_team(rows=500, estimator=quick), settings, settings.storage)


def doing_promote(settings: Settings) -> None:
    promote(settings, order_team(rows=1500).data, "local", None, None, ANA, "", settings.storage)


def doing_rollback(settings: Settings) -> None:
    rollback(settings, order_team(rows=1500).data, "local", ANA, "", settings.storage)


def test_a_killed_training_leaves_complete_bundles_and_the_next_training_adds_one(sound: Path, tmp_path: Path) -> None:
    points = 0
    for settings, where in every(doing_train, sound, tmp_path):
        points += 1
        assert loads(settings.store) == settings.store.versions()[0], where
        assert len(settings.store.versions()) in (2, 3), where
    doing_train(settings)
    assert loads(settings.store)
    assert points > 20


def test_a_killed_promotion_leaves_one_champion_and_can_be_repeated(sound: Path, tmp_path: Path) -> None:
    older, newer = sorted(path.name for path in (sound / "bundles").iterdir())
    deployed = []
    for settings, where in every(doing_promote, sound, tmp_path):
        deployed.append(loads(settings.store))
        assert deployed[-1] in (older, newer), where
        doing_promote(settings)
        assert loads(settings.store) == newer, where
    assert deployed[0] == older
    assert deployed[-1] == newer
    assert deployed == sorted(deployed), "the deployment changes at one point"


def test_a_killed_rollback_leaves_one_champion_and_can_be_repeated(sound: Path, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, gate=GATE)
    shutil.copytree(sound, settings.storage)
    older, newer = settings.store.versions()
    doing_promote(settings)
    deployed = []
    for killed_settings, where in every(doing_rollback, settings.storage, tmp_path):
        deployed.append(loads(killed_settings.store))
        if deployed[-1] == newer:
            doing_rollback(killed_settings)
        assert loads(killed_settings.store) == older, where
    assert deployed == sorted(deployed, reverse=True)
    assert {*deployed} == {older, newer}


def test_a_killed_monitoring_leaves_complete_reports_and_requests_a_retrain_again(sound: Path, tmp_path: Path) -> None:
    later = timestamps.parse("2026-09-01")

    def work(settings: Settings) -> None:
        newer = SimpleNamespace(**vars(order_team(rows=1500).data) | {"latest": lambda connection: later})
        document, _ = monitor(settings, newer, "local", later)
        assert document["verdict"] == "retrain", "its training is older than stale_days"

    requested = []
    for settings, where in every(work, sound, tmp_path):
        folder = settings.store.reports / "local"
        for path in folder.rglob("*.json") if folder.exists() else []:
            if not path.name.startswith("."):
                json.loads(path.read_bytes())
        found = retrain.requested(settings.store, "local")
        requested.append(found is not None)
        assert loads(settings.store), where
        work(settings)
        again = retrain.requested(settings.store, "local")
        assert again is not None
        assert again.reason == "stale", where
        assert json.loads((folder / "monitoring.json").read_bytes())["verdict"] == "retrain"
    assert {*requested} == {False, True}


def test_a_killed_record_of_a_retrain_is_the_old_or_the_new_one(sound: Path, tmp_path: Path) -> None:
    request = Request("drift", "items drifts", "reports/local/20260101T000000Z/monitoring.json")

    def work(settings: Settings) -> None:
        run = Run("2026-01-01T00:00:00Z", "drift", "hand", "ana", "refused", None, "", None)
        retrain.record(settings.store, "local", run)
        retrain.complete(settings.store, "local", request)

    requested = Path(shutil.copytree(sound, tmp_path / "requested"))
    (requested / "reports/local/20260101T000000Z").mkdir(parents=True)
    (requested / "reports/local/retrain_request.json").write_text('{"reason": "drift", "text": "", "evidence": ""}')
    counts = []
    for settings, _ in every(work, requested, tmp_path):
        counts.append(len(retrain.runs(settings.store, "local")))
        request_there = retrain.requested(settings.store, "local") is not None
        assert request_there != (settings.store.reports / "local/20260101T000000Z/retrain_done.json").exists()
    assert counts == sorted(counts)
    # A line that was written counts, also where the process ends before it is flushed to the disk.
    assert {*counts} <= {0, 1}
    assert counts[-1] == 1


@pytest.mark.parametrize("half", [False, True], ids=["between calls", "in the middle of a write"])
def test_a_killed_prediction_log_keeps_all_flushed_lines_and_they_can_be_collected(tmp_path: Path, half: bool) -> None:
    """Rotation included: a small segment is closed and the next begun every few lines."""
    calls = ("write", "rename", "fsync", "ftruncate", "open")
    for point in range(1, MOST):
        for before in [True] if half else [True, False]:
            folder = tmp_path / f"{point} {before}"
            made, flushed = Storage(Store(folder / "storage"), folder / "drafts"), folder / "flushed"
            work = partial(_log, made, made.deploy(made.publish()), flushed, point if half else 0)
            was = killed(work, 0 if half else point, before, calls)
            acknowledged = int(flushed.read_text()) if flushed.exists() else 0
            done = collect(made.store, "local")
            where = f"{'in' if half else 'before' if before else 'after'} {point}"
            assert done.rows >= acknowledged, where
            assert done.half_lines == int(half and was), where
            assert done.waiting == {}, where
            assert not list(predictions.segment_folder(made.store, "local").glob("[!.]*")), where
            if not was:
                assert done.rows == acknowledged == 24
                assert point > 5
                return


def _log(made: Storage, deployment: Deployment, flushed: Path, half_write: int) -> None:
    """Log 24 predictions and write after each flush how many are on the disk."""
    if half_write:
        _kill_in_a_write(half_write)
    predictor = Predictor(open_version(made.store, deployment.current.version))
    model = DeployedModel(deployment, predictor, RowReader(predictor.contract, frozenset(), 9), None)
    kept = PredictionLog(predictions.segment_folder(made.store, "local"), Log(segment_bytes=1000), lambda lines: None)
    for at in range(24):
        prediction = {"prediction": "stays", "probability": 0.5}
        kept.add(model, b"r%d" % at, b"", [ROW], to_json([prediction]))
        if at % 3 == 2:
            kept.flush()
            flushed.write_text(str(at + 1))
    kept.close()


def _kill_in_a_write(point: int) -> None:
    written = 0

    class Killed(FileIO):
        def write(self, content: Any) -> int:
            nonlocal written
            written += 1
            if written == point:
                super().write(content[:-20])
                os.kill(os.getpid(), signal.SIGKILL)
            return super().write(content)

    predictions.FileIO = Killed  # type: ignore[misc]


def doing_score(settings: Settings) -> None:
    score(settings, order_team(rows=5000).data, "local", [date(2026, 1, 1)], progress=False)


def test_a_killed_score_leaves_no_incomplete_file_and_the_next_completes_it(sound: Path, tmp_path: Path) -> None:
    def finished(settings: Settings) -> dict[str, bytes]:
        found = [*settings.store.scores.glob("local/date=*/*.parquet"), *predictions.files(settings.store, "local")]
        return {path.name: path.read_bytes() for path in found}

    def work(settings: Settings) -> None:
        doing_score(settings.model_copy(update={"score": settings.score.model_copy(update={"chunk_rows": 2048})}))

    whole = settings_in(tmp_path / "whole", gate=GATE)
    shutil.copytree(sound, whole.storage)
    work(whole)
    assert len(finished(whole)) == 2
    seen = []
    for settings, where in every(work, sound, tmp_path):
        seen.append(finished(settings))
        assert seen[-1].items() <= finished(whole).items(), where
        work(settings)
        assert finished(settings) == finished(whole), where
        assert {path.name for path in (settings.store.scores / "local").rglob("*")} == {
            ".lock",
            "date=2026-01-01",
            "scores.parquet",
        }, where
    assert [len(each) for each in seen] == sorted(len(each) for each in seen)
    assert {len(each) for each in seen} == {0, 1, 2}
    assert len(seen) > 20

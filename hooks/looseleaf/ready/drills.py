"""Exercise on a copy what cannot be read from records: reproduction, staleness, rollback, tuning and planted faults.

All storages are below build/ready; the repository's own storage, data and deployments do not change.
"""

import importlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lifecycle import timestamps
from lifecycle.storage import read_json, write_json
from looseleaf.project import environment
from looseleaf.ready import faults
from looseleaf.ready.evidence import DRILLS, OWN, TESTS, Document, Evidence, Item
from looseleaf.ready.place import LOCAL, WHY, Failed, Place

DAY, COPY = timestamps.DAY, "copy"
NEVER = Item({"problem": "it was never run"}, 0, "")
WHOLE_HISTORY = {"TRAIN__WINDOWS": "0"}
# model.skops has the time of its writing; golden.jsonl has what the deployed fit predicts.
REPRODUCED = ("model.onnx", "golden.jsonl", "profile.json", "training.ids", "holdout.ids")
# Parameters of scikit-learn, LightGBM and XGBoost; the first that the estimator has is varied by this factor.
VARIED = ("learning_rate", "C", "alpha", "max_depth", "min_samples_leaf", "n_neighbors", "n_estimators", "max_iter")
FACTOR = 2
FEWEST_DAYS = 28


def run(evidence: Evidence, report: Callable[[str], object] = print) -> None:
    """Run the drills without a record about the deployed version, its tables and its log, and record them."""
    folder, drilled = evidence.root / OWN, evidence.drills
    steps: list[tuple[str, Any]] = []
    if "problem" in drilled.get("pipeline", NEVER).document:
        steps.append(("train twice, promote, tune, roll back: in a copy, a minute", pipeline))
    if evidence.history and drilled.get("monitoring", NEVER).document.get("log") != evidence.history.version:
        steps.append(("plant faults in a copy of the prediction log, and erase a key there", faults.monitoring))
    record = {name: item.document for name, item in drilled.items()}
    for text, step in steps:
        report(f"drill: {text} …")
        shutil.rmtree(folder / COPY, ignore_errors=True)
        try:
            for name, document in step(evidence, folder / COPY):
                record[name] = {"at": int(time.time())} | document
        # A bundle of an older release lacks facts.
        except (Failed, KeyError) as failed:
            record[step.__name__] = {"at": int(time.time()), "problem": str(failed)}
        write_json(evidence.root / DRILLS, {"version": evidence.version, "drills": record})
        shutil.rmtree(folder / COPY, ignore_errors=True)
    pytest = evidence.root / ".venv/bin/pytest"
    if evidence.tests is None and pytest.exists():
        report("drill: the tests of this repository, as make test runs them …")
        subprocess.run(
            [str(pytest), "-q", f"--junitxml={TESTS}"], cwd=evidence.root, env=environment(), stdout=subprocess.DEVNULL
        )


def pipeline(evidence: Evidence, storage: Path) -> Iterator[tuple[str, Document]]:
    """Train an older and the deployed version again, and yield a record of each drill that this allows."""
    facts, store = evidence.facts, evidence.settings.store
    settings = {f"TRAIN__{name.upper()}": str(value) for name, value in facts["settings"].items()}
    place = Place(evidence.root, storage, settings)
    storage.mkdir(parents=True)
    for name in ("predictions", "labels"):
        if (store.root / name).is_dir():
            (storage / name).symlink_to(store.root / name)
    as_of = timestamps.parse(facts["as_of"])
    days, older = _older(place, as_of, evidence)
    before = place.decide(older, WHY)
    again = place.train(as_of, evidence.environment)
    after = place.decide(again, WHY)
    built, deployed = storage / "bundles" / again, store.bundles / evidence.version
    names = (name for name in REPRODUCED if name in facts["files"])
    equal = {name: (built / name).exists() and _content(built / name) == _content(deployed / name) for name in names}
    yield "pipeline", {"data": json.loads((built / "bundle.json").read_bytes())["data"], "equal": equal}
    times = (each["latency"]["numbers"]["milliseconds"] for each in (before, after))
    yield "performance", dict(zip(("before", "after"), times, strict=True))
    yield "staleness", _compared(after, {"days": days})
    yield "tuning", _tuned(place, as_of, evidence)
    place.run("rollback", "--why", WHY)
    live = read_json(storage / f"deployments/{LOCAL}.json")["live"]["version"]
    last = json.loads((storage / "audit.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    yield "rollback", {"version": older, "restored": live == older, "recorded": last["action"] == "rollback"}


def _content(path: Path) -> bytes:
    """Return the bytes of a file; of a graph those without its metadata, which name the version."""
    if path.suffix != ".onnx":
        return path.read_bytes()
    import onnx

    graph = onnx.load(path)
    del graph.metadata_props[:]
    return bytes(graph.SerializeToString())


def _older(place: Place, as_of: int, evidence: Evidence) -> tuple[int, str]:
    """Train as of the age at which data count as stale, or less where the history is too short."""
    days = evidence.settings.monitor.stale_days
    while days >= FEWEST_DAYS:
        try:
            return days, place.train(as_of - days * DAY, evidence.environment, WHOLE_HISTORY)
        except Failed:
            days //= FACTOR
    # Without older rows, a second fit of the same ones still exercises promotion and rollback.
    return 0, place.train(as_of, evidence.environment, WHOLE_HISTORY)


def _compared(checks: Mapping[str, Document], facts: Document) -> Document:
    """Return facts with what the gate measured against the champion, or the problem that it states."""
    check = checks.get("champion", {"text": "the gate did not compare it", "numbers": {}})
    numbers = check["numbers"]
    if not facts.get("days", 1) or "mean" not in numbers:
        return {"problem": "the data have no older rows to train on" if not facts.get("days", 1) else check["text"]}
    return facts | {name: numbers[name] for name in ("mean", "lower", "upper")}


def _tuned(place: Place, as_of: int, evidence: Evidence) -> Document:
    """Train with neighbouring values of one parameter of the candidate; the gate compares each with the deployed."""
    estimator = importlib.import_module("model.estimator")
    original, tried = estimator.candidate, list[Document]()
    # Where the deployed version was fitted to the whole history, the variations are fitted to the whole history, too.
    # Releases before 0.3.0 knew no other history.
    windows = WHOLE_HISTORY if evidence.facts.get("window", {}).get("periods") is None else {}
    for way in (1 / FACTOR, float(FACTOR)):
        setting = ""

        def varied(inputs: Any, seed: int, way: float = way) -> Any:
            nonlocal setting
            made = original(inputs, seed)
            key, value = _parameter(made)
            value = max(1, round(value * way)) if isinstance(value, int) else value * way
            setting = f"{key}={value:g}"
            return made.set_params(**{key: value})

        try:
            with patch.object(estimator, "candidate", varied):
                version = place.train(as_of, evidence.environment, windows)
            found = _compared(place.decide(version), {"setting": setting})
        except (Failed, LookupError) as error:
            return {"problem": str(error)}
        if "problem" in found and "predicts the same" not in found["problem"]:
            return found
        tried.append({"setting": setting, "mean": 0.0, "lower": 0.0, "upper": 0.0} | found)
        if tried[-1]["lower"] > 0:
            break
    return {"tried": tried}


def _parameter(estimator: Any) -> tuple[str, float]:
    """Return the name and value of the parameter that is varied; raises LookupError where there is none."""
    known = estimator.get_params() if hasattr(estimator, "get_params") else {}
    for key in (key for name in VARIED for key in known if key.split("__")[-1] == name):
        if isinstance(known[key], (int, float)) and known[key] not in (0, True):
            return key, known[key]
    raise LookupError(f"candidate() has none of the parameters {', '.join(VARIED)} with a value: tune it by hand")

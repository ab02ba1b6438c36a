"""Exercise on a copy what cannot be read from records: reproduction, staleness, rollback, tuning and planted faults.

All storages are below build/ready; the repository's own storage, data and deployments do not change.
"""

import importlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lifecycle import timestamps
from lifecycle.storage import read_json, write_json
from looseleaf.ready import faults
from looseleaf.ready.evidence import DRILLS, OWN, Document, Evidence
from looseleaf.ready.place import LOCAL, WHY, Failed, Place

DAY = timestamps.DAY
# model.skops has the time of its writing; golden.jsonl has what the deployed fit predicts.
REPRODUCED = ("model.onnx", "golden.jsonl", "profile.json", "training.ids", "holdout.ids")
# Parameters of scikit-learn, LightGBM and XGBoost; the first that the estimator has is varied by this factor.
VARIED = ("learning_rate", "C", "alpha", "max_depth", "min_samples_leaf", "n_neighbors", "n_estimators", "max_iter")
FACTOR = 2
FEWEST_DAYS = 28


def run(evidence: Evidence, report: Callable[[str], object] = print) -> None:
    """Run the drills that were not run on the deployed version, or not on its log, and record them."""
    folder, now = evidence.root / OWN, int(time.time())
    shutil.rmtree(folder / "storage", ignore_errors=True)
    shutil.rmtree(folder / "log", ignore_errors=True)
    record = read_json(evidence.root / DRILLS)
    if record.get("version") != evidence.version:
        record = {"version": evidence.version, "drills": {}}
    (evidence.root / "build").mkdir(exist_ok=True)
    (evidence.root / "build/.gitignore").write_text("*\n", encoding="utf-8")
    steps: list[tuple[str, Callable[[Evidence, Path], Iterator[tuple[str, Document]]]]] = []
    if "pipeline" not in record["drills"]:
        steps.append(("train twice, promote, tune, roll back: in a copy, a minute", pipeline))
    read_log = f"{evidence.history.version if evidence.history else ''}"
    if evidence.history and record["drills"].get("monitoring", {}).get("log") != read_log:
        steps.append(("plant faults in a copy of the prediction log, and erase a key there", faults.log))
    for text, step in steps:
        report(f"drill: {text} …")
        for name, document in step(evidence, folder):
            record["drills"][name] = {"at": now} | document
        write_json(evidence.root / DRILLS, record)
    shutil.rmtree(folder / "storage", ignore_errors=True)
    shutil.rmtree(folder / "log", ignore_errors=True)


def pipeline(evidence: Evidence, folder: Path) -> Iterator[tuple[str, Document]]:
    """Train an older and the deployed version again, and yield a record of each drill that this allows."""
    facts, store = evidence.facts, evidence.settings.store
    settings = {f"TRAIN__{name.upper()}": str(value) for name, value in facts["settings"].items()}
    place = Place(evidence.root, folder / "storage", settings)
    place.storage.mkdir(parents=True)
    for name in ("predictions", "labels"):
        if (store.root / name).is_dir():
            (place.storage / name).symlink_to(store.root / name)
    as_of = timestamps.parse(facts["as_of"])
    try:
        days, older = _older(place, as_of, evidence)
        before = place.decide(older, WHY)
        again = place.train(as_of, evidence.environment)
        after = place.decide(again, WHY)
    except Failed as failed:
        names = ("pipeline", "staleness", "tuning", "rollback", "performance")
        yield from ((name, {"problem": str(failed)}) for name in names)
        return
    rebuilt = json.loads((place.storage / "bundles" / again / "bundle.json").read_bytes())
    equal = {name: facts["files"][name] == rebuilt["files"].get(name) for name in REPRODUCED if name in facts["files"]}
    yield "pipeline", {"data": rebuilt["data"], "equal": equal}
    times = [each.get("latency", {}).get("numbers", {}).get("milliseconds") for each in (before, after)]
    missing = {"problem": "the gate did not measure a prediction"} if None in times else {}
    yield "performance", {"before": times[0], "after": times[1]} | missing
    yield "staleness", _compared(after, {"days": days})
    yield "tuning", _tuned(place, as_of, evidence.environment)
    place.run("rollback", "--why", WHY)
    live = read_json(place.storage / f"deployments/{LOCAL}.json")["live"]["version"]
    last = json.loads((place.storage / "audit.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    is_recorded = (last["action"], last["live"]["version"], last["why"]) == ("rollback", older, WHY)
    yield "rollback", {"version": older, "restored": live == older, "recorded": is_recorded}


def _older(place: Place, as_of: int, evidence: Evidence) -> tuple[int, str]:
    """Train as of the age at which data count as stale, or less where the history is too short."""
    days, last = evidence.settings.monitor.stale_days, Failed("")
    while days >= FEWEST_DAYS:
        try:
            return days, place.train(as_of - days * DAY, evidence.environment)
        except Failed as failed:
            days, last = days // FACTOR, failed
    # Without older rows, a second fit of the same ones still exercises promotion and rollback.
    try:
        return 0, place.train(as_of, evidence.environment)
    except Failed:
        raise last from None


def _compared(checks: Mapping[str, Document], facts: Document) -> Document:
    """Return facts with what the gate measured against the champion, or the problem that it states."""
    check = checks.get("champion", {"text": "the gate did not compare it", "numbers": {}})
    numbers = check["numbers"]
    if not facts.get("days", 1) or "mean" not in numbers:
        return {"problem": "the data have no older rows to train on" if not facts.get("days", 1) else check["text"]}
    measure = re.search(r": (.+?) [+-]", check["text"])
    return (
        facts
        | {"measure": measure[1] if measure else "measure"}
        | {name: numbers[name] for name in ("mean", "lower", "upper")}
    )


def _tuned(place: Place, as_of: int, environment: str) -> Document:
    """Train with neighbouring values of one parameter of the candidate; the gate compares each with the deployed."""
    estimator = importlib.import_module("model.estimator")
    original, tried = estimator.candidate, list[Document]()
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
                version = place.train(as_of, environment)
            found = _compared(place.decide(version), {"setting": setting})
        except (Failed, LookupError) as error:
            return {"problem": str(error)}
        if "problem" in found and "predicts the same" not in found["problem"]:
            return found
        tried.append({"setting": setting, "mean": 0.0, "lower": 0.0, "upper": 0.0, "measure": ""} | found)
        if tried[-1]["lower"] > 0:
            break
    return {"tried": tried, "measure": next((each["measure"] for each in tried if each["measure"]), "measure")}


def _parameter(estimator: Any) -> tuple[str, float]:
    """Return the name and value of the parameter that is varied; raises LookupError where there is none."""
    known = estimator.get_params() if hasattr(estimator, "get_params") else {}
    for name in VARIED:
        for key, value in known.items():
            if (
                key.split("__")[-1] == name
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
                and value
            ):
                return key, value
    raise LookupError(f"candidate() has none of the parameters {', '.join(VARIED)} with a value: tune it by hand")

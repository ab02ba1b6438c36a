"""Fit the candidate and its baselines, measure them on held-out rows, write the bundle."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle import bundle as bundles
from lifecycle import evaluation, features, holdout, moments, provenance
from lifecycle.bundle import Bundle
from lifecycle.contract import Answer, Contract
from lifecycle.errors import LifecycleError
from lifecycle.evaluation import Floats
from lifecycle.matrix import Encoder, learn_levels
from lifecycle.predictor import FrameModel, Model, Predictor, SkopsModel, typed
from lifecycle.settings import Settings
from lifecycle.team import Team

if TYPE_CHECKING:
    import pandas as pd

CANDIDATE, TRIVIAL, LINEAR = "candidate", "trivial", "linear"
EVIDENCE_ROWS = 20_000
DEFAULT_THRESHOLD = 0.5
PICKLES = (".pkl", ".pickle", ".joblib", ".dill")


@dataclass(frozen=True)
class Rows:
    """One side of the split: a frame, its label as codes or numbers, and a way to encode it."""

    frame: "pd.DataFrame"
    label: Floats


def train(team: Team, settings: Settings, root: Path, as_of: int | None = None) -> Bundle:
    """From raw tables to a new bundle in the storage, proved by its golden rows; raises LifecycleError.

    Only labels known at `as_of` count (the data's own latest moment, or the clock, when None).
    """
    connection = features.connect(team.data, settings.data)
    moment = features.latest(connection, team.data) if as_of is None else as_of
    if not features.training_rows(connection, team, moment):
        raise LifecycleError(f"no label is known at {moments.told(moment)}", "Give a later --as-of, or more labels.")
    frame = connection.execute(f"FROM {features.ROWS}").df()
    answer = team.contract.answer
    label = codes(frame.pop(answer.label), answer)
    divided = holdout.split(frame, team.contract, settings.train.holdout)
    held = divided.held
    rows, test = Rows(frame[~held], label[~held]), Rows(frame[held], label[held])
    _enough_classes(answer, rows.label)

    encoder = Encoder(team.contract, learn_levels(team.contract, rows.frame))
    models = fit(team, encoder, rows, settings.train.seed)
    given = {name: model.frame(test.frame) for name, model in models.items()}
    lost = {name: evaluation.losses(answer, test.label, each) for name, each in given.items()}
    # The simpler model wins a draw: what the candidate does not beat replaces it (Breck et al. 2017, Model 5).
    chosen = LINEAR if lost[LINEAR].mean() <= lost[CANDIDATE].mean() else CANDIDATE
    facts = {
        "name": team.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "as_of": moments.told(moment),
        "estimator": chosen,
        "threshold": DEFAULT_THRESHOLD if answer.task == "two classes" else None,
        "levels": {name: list(each) for name, each in encoder.codes.items()},
        "rows": {"training": len(rows.frame), "holdout": len(test.frame)},
        "holdout": {"rule": divided.told, "entities_also_in_training": divided.entities_also_in_training},
        "metrics": {name: evaluation.metrics(answer, test.label, each) for name, each in given.items()},
        "data": _data_hash(frame, label),
        "code": provenance.code(root),
        "settings": settings.train.model_dump(),
    }
    evidence = evidence_of(answer, lost | {CANDIDATE: lost[chosen]})
    return write(team, settings, models[chosen], facts, golden(team.contract, test.frame, settings), evidence)


def codes(label: "pd.Series[Any]", answer: Answer) -> Floats:
    """The label as class codes 0, 1, … or as numbers; raises LifecycleError naming what is neither."""
    if label.isna().any():
        problem = f"the label {answer.label} is null in {int(label.isna().sum())} of {len(label)} rows"
        raise LifecycleError(problem, "Leave rows without a label out in labels() (src/model/data.py).")
    if answer.task == "number" or (answer.task == "two classes" and label.dtype.kind in "bui"):
        found = label.to_numpy(dtype=np.float64)
        wrong = ~np.isfinite(found) if answer.task == "number" else ~np.isin(found, (0.0, 1.0))
    else:
        found = label.astype(str).map({name: float(at) for at, name in enumerate(answer.classes)}).to_numpy(np.float64)
        wrong = np.isnan(found)
    if wrong.any():
        raise LifecycleError(
            f"the label {answer.label} holds values that ANSWER does not name, in {int(wrong.sum())} rows",
            f"ANSWER in src/model/contract.py says: {answer.task} {', '.join(answer.classes)}".strip(),
        )
    return np.asarray(found)


def fit(team: Team, encoder: Encoder, rows: Rows, seed: int) -> dict[str, Model]:
    """The fitted candidate and baselines, by name."""
    answer = team.contract.answer
    estimators = {CANDIDATE: team.estimator.candidate(encoder.inputs, seed)}
    baselines = team.estimator.baselines(encoder.inputs, seed)
    if set(baselines) != {TRIVIAL, LINEAR}:
        problem = f"src/model/estimator.py: baselines() returns {', '.join(sorted(baselines)) or 'nothing'}"
        raise LifecycleError(problem, f"It returns two estimators, {TRIVIAL!r} and {LINEAR!r}.")
    matrix = encoder.frame(rows.frame)
    target = rows.label if answer.task == "number" else rows.label.astype(int)
    fitted: dict[str, Model] = {}
    for name, estimator in (estimators | baselines).items():
        try:
            if hasattr(estimator, "save"):
                estimator.fit(typed(rows.frame, team.contract.columns), target)
                fitted[name] = FrameModel(estimator, team.contract)
            else:
                fitted[name] = SkopsModel(estimator.fit(matrix, target), encoder, answer)
        except (ValueError, TypeError, AttributeError) as error:
            problem = f"src/model/estimator.py: the {name} estimator does not fit ({type(error).__name__}: {error})"
            raise LifecycleError(
                problem, "Numbers may be NaN where the contract allows null; categories are codes."
            ) from error
    return fitted


def golden(contract: Contract, frame: "pd.DataFrame", settings: Settings) -> list[dict[str, Any]]:
    """Completed rows that are no real person's: each column drawn on its own, keys invented."""
    random = np.random.default_rng(settings.train.seed)
    size = min(settings.train.golden_rows, len(frame))
    columns = {
        column.name: [
            _plain(value, column.kind)
            for value in frame[column.name].iloc[random.choice(len(frame), size, replace=False)]
        ]
        for column in contract.inputs
    }
    for column in contract.keys:
        invented = [f"golden-{at}"[-(column.max_length or 99) :] for at in range(size)]
        columns[column.name] = list(range(size)) if column.kind == "integer" else invented
        if column.kind == "time":
            columns[column.name] = ["2000-01-01T00:00:00Z"] * size
    return [{column.name: columns[column.name][at] for column in contract.columns} for at in range(size)]


def evidence_of(answer: Answer, lost: dict[str, Floats]) -> dict[str, Any]:
    """What the gate decides on: paired losses of held-out rows, at most EVIDENCE_ROWS of them, evenly taken."""
    size = len(lost[CANDIDATE])
    taken = np.unique(np.linspace(0, size - 1, min(size, EVIDENCE_ROWS)).astype(int))
    return {"loss": evaluation.loss_name(answer)} | {
        name: [round(value, 9) for value in each[taken].tolist()] for name, each in lost.items()
    }


def write(
    team: Team,
    settings: Settings,
    model: Model,
    facts: dict[str, Any],
    rows: list[dict[str, Any]],
    evidence: dict[str, Any],
) -> Bundle:
    """Put the files of a bundle together, publish them and prove that what was written answers the same."""
    answers = model.rows(rows).tolist()
    lines = [
        json.dumps({"row": row, "answer": each}, ensure_ascii=False) for row, each in zip(rows, answers, strict=True)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "contract.json").write_text(team.contract.to_json())
        (folder / "golden.jsonl").write_text("\n".join(lines) + "\n")
        (folder / "evidence.json").write_text(json.dumps(evidence) + "\n")
        if team.features_sql is not None:
            (folder / "features.sql").write_text(team.features_sql)
        kind = _write_python(team, model, folder) if isinstance(model, FrameModel) else _write_skops(model, folder)
        made = datetime.fromisoformat(facts["created"]).strftime("%Y%m%dT%H%M%S")
        bundle = bundles.publish(settings.store, folder, kind | facts, made)
    Predictor(bundle)
    return bundle


def _write_skops(model: Model, folder: Path) -> dict[str, Any]:
    import skops.io

    from lifecycle.predictor import TRUSTED

    assert isinstance(model, SkopsModel)
    content = skops.io.dumps(model.estimator)
    unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
    if unknown:
        raise LifecycleError(
            f"the estimator holds {', '.join(unknown)}, which a bundle of kind skops does not take",
            "Return a `python` model from candidate() in src/model/estimator.py (see PythonModel in lifecycle.team).",
        )
    (folder / "model.skops").write_bytes(content)
    return {"kind": "skops", "requires": bundles.versions_of(["numpy", "scikit-learn", "skops"])}


def _write_python(team: Team, model: FrameModel, folder: Path) -> dict[str, Any]:
    directory = folder / "model"
    directory.mkdir()
    model.model.save(directory)
    pickles = [p.name for p in directory.rglob("*") if p.is_file() and _is_pickle(p)]
    if pickles:
        problem = f"{type(model.model).__name__}.save() wrote a pickle ({pickles[0]}), which runs code when it is read"
        raise LifecycleError(problem, "Write arrays as .npy or JSON, and models in their library's own format.")
    cls = type(model.model)
    requires = bundles.versions_of(sorted({"numpy", "pandas", *_needed_by(cls.__module__, team.name)}))
    return {"kind": "python", "class": f"{cls.__module__}:{cls.__qualname__}", "requires": requires}


def _needed_by(module: str, project: str) -> set[str]:
    """The team's distribution, those it depends on, and those that a fresh process imports with the module."""
    code = f"import importlib, sys; importlib.import_module({module!r}); print(*sys.modules)"
    there = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=there, capture_output=True, text=True)
    if done.returncode:
        problem = f"{module} cannot be imported on its own: {done.stderr.strip().splitlines()[-1]}"
        raise LifecycleError(problem, "Define the model's class in a module of src/model/.")
    known = metadata.packages_distributions()
    imported = {name for top in {each.partition(".")[0] for each in done.stdout.split()} for name in known.get(top, ())}
    lines = [line for line in metadata.requires(project) or [] if "extra ==" not in line]
    declared = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines}
    # A requirement of another platform is not installed here.
    return {project, *imported, *(declared & {each.name for each in metadata.distributions()})}


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2)
    return path.suffix in PICKLES or (start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def _enough_classes(answer: Answer, label: Floats) -> None:
    missing = [name for at, name in enumerate(answer.classes) if not (label == at).any()]
    if missing:
        raise LifecycleError(f"no training row is labelled {', '.join(missing)}", "Give labelled rows of every class.")


def _data_hash(frame: "pd.DataFrame", label: npt.NDArray[np.float64]) -> str:
    import pandas as pd

    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes() + label.tobytes()).hexdigest()


def _plain(value: Any, kind: str) -> Any:
    import pandas as pd

    if pd.isna(value):
        return None
    return {"number": float, "integer": int, "boolean": bool}.get(kind, str)(value)

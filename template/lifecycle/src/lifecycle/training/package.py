"""Put a trained model into a bundle, and prove that what was written answers as what was trained."""

import json
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Team, requirements
from lifecycle.errors import LifecycleError
from lifecycle.models import bundle as bundles
from lifecycle.models import card
from lifecycle.models.bundle import Bundle
from lifecycle.models.export.verify import FILE as EXPORT
from lifecycle.models.export.verify import Export
from lifecycle.models.predictor import Predictor, untrusted_types
from lifecycle.models.reference import FILE as PROFILE
from lifecycle.models.reference import Profile
from lifecycle.models.runtimes import FrameModel, Model, SkopsModel
from lifecycle.settings import Train
from lifecycle.storage import Store
from lifecycle.training import evidence
from lifecycle.training.evidence import Evidence, Ids

if TYPE_CHECKING:
    import pandas as pd

PICKLES = (".pkl", ".pickle", ".joblib", ".dill")


def golden(contract: Contract, frame: "pd.DataFrame", train: Train) -> list[dict[str, Any]]:
    """Completed rows that are no real person's: each column drawn on its own, keys invented."""
    random = np.random.default_rng(train.seed)
    size = min(train.golden_rows, len(frame))
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


@dataclass(frozen=True)
class Proof:
    """What the gate asks of a bundle: evidence, and the questions that trained and were held out."""

    evidence: Evidence
    trained: Ids
    held: Ids


def pack(
    team: Team,
    store: Store,
    model: Model,
    facts: dict[str, Any],
    rows: list[dict[str, Any]],
    proof: Proof,
    profile: Profile,
    export: Export | None,
) -> Bundle:
    """The published bundle of a model; `rows` are its golden rows. Raises LifecycleError for what no bundle takes.

    A model over the matrix comes with what became of its export.
    """
    answers = model.predict_rows(rows).tolist()
    lines = [
        json.dumps({"row": row, "answer": each}, ensure_ascii=False) for row, each in zip(rows, answers, strict=True)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "contract.json").write_text(team.contract.to_json(), encoding="utf-8")
        (folder / "golden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / evidence.FILE).write_text(proof.evidence.to_json())
        (folder / evidence.TRAINING).write_bytes(evidence.to_bytes(proof.trained))
        (folder / evidence.HOLDOUT).write_bytes(evidence.to_bytes(proof.held))
        (folder / PROFILE).write_text(profile.to_json(), encoding="utf-8")
        if team.features_sql is not None:
            (folder / "features.sql").write_text(team.features_sql, encoding="utf-8")
        kind = _write_python(team, model, folder) if export is None else _write_matrix(model, export, folder)
        runtime = "a class of the team's own" if export is None else export.summary
        (folder / "card.md").write_text(card.text(team.contract, facts, runtime), encoding="utf-8")
        made = datetime.fromisoformat(facts["created"]).strftime("%Y%m%dT%H%M%S%f")
        return bundles.publish(store, folder, kind | facts, made, check=Predictor)


def _write_matrix(model: Model, export: Export, folder: Path) -> dict[str, Any]:
    import skops.io

    assert isinstance(model, SkopsModel)
    (folder / EXPORT).write_text(export.to_json(), encoding="utf-8")
    try:
        content = skops.io.dumps(model.estimator)
        unknown = untrusted_types(content)
    # An estimator of any library: what it raises while it is written is its own.
    except Exception as error:
        unknown = [f"what skops cannot write ({type(error).__name__})"]
    if not unknown:
        # Beside a graph, too: it is what was trained, for people to look into, and a service never reads it.
        (folder / "model.skops").write_bytes(content)
    if export.graph is not None:
        (folder / "model.onnx").write_bytes(export.graph)
        return {"kind": "onnx", "requires": bundles.installed_versions(["numpy", "onnxruntime"])}
    if unknown:
        reason = export.report["reason"]
        raise LifecycleError(
            f"no ONNX: {reason}; and it holds {', '.join(unknown)}, which a bundle of kind skops does not take",
            "lifecycle/docs/export.md says what converts. Else return a `python` model from candidate() in "
            "src/model/estimator.py (see PythonModel in lifecycle.contract.team).",
        )
    return {"kind": "skops", "requires": bundles.installed_versions(["numpy", "scikit-learn", "skops"])}


def _write_python(team: Team, model: Model, folder: Path) -> dict[str, Any]:
    assert isinstance(model, FrameModel)
    directory = folder / "model"
    directory.mkdir()
    model.model.save(directory)
    pickles = [p.name for p in directory.rglob("*") if p.is_file() and _is_pickle(p)]
    if pickles:
        problem = f"{type(model.model).__name__}.save() wrote a pickle ({pickles[0]}), which runs code when it is read"
        raise LifecycleError(problem, "Write arrays as .npy or JSON, and models in their library's own format.")
    cls = type(model.model)
    requires = bundles.installed_versions(sorted({"numpy", "pandas", *requirements(cls.__module__, team.name)}))
    return {"kind": "python", "class": f"{cls.__module__}:{cls.__qualname__}", "requires": requires}


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2)
    # torch.save writes a zip with a pickle in it.
    inside = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    protocol = start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")
    return protocol or any(name.endswith(PICKLES) for name in (path.name, *inside))


def _plain(value: Any, kind: str) -> Any:
    import pandas as pd

    if pd.isna(value):
        return None
    return {"number": float, "integer": int, "boolean": bool}.get(kind, str)(value)

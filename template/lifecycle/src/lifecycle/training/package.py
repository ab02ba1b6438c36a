"""Write a trained model with its card into a bundle, and verify that it predicts as the model did in training."""

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.team import Team, requirements
from lifecycle.errors import LifecycleError
from lifecycle.models import bundle as bundles
from lifecycle.models.export import FILE as EXPORT
from lifecycle.models.export import Export
from lifecycle.models.predictor import Predictor
from lifecycle.models.runtimes import FOREIGN, FrameModel, Model, SkopsModel, untrusted_types
from lifecycle.settings import Settings, Train
from lifecycle.training.dataset import Dataset

Facts = dict[str, Any]
CARD = Path(__file__).with_name("card.md.j2")
PICKLES = (".pkl", ".pickle", ".joblib", ".dill")


def pack(
    settings: Settings, dataset: Dataset, model: Model, facts: Facts, files: dict[str, bytes], export: Export | None
) -> bundles.Bundle:
    """Publish a model with golden rows and further `files` as a bundle; `facts` go into `bundle.json`.

    The golden rows are drawn from the holdout; `export` is the result of the conversion to ONNX, None for a model class
    of the team. Raises LifecycleError where no bundle can hold the model, or it predicts otherwise once loaded again.
    """
    team, golden = dataset.team, _golden_rows(dataset, settings.train)
    predictions = model.predict_rows(golden).tolist()
    # Every release reads this name.
    lines = [{"row": row, "answer": each} for row, each in zip(golden, predictions, strict=True)]
    texts = {
        "contract.json": team.contract.to_json(),
        "golden.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
        "card.md": model_card(team.contract, facts, export.summary if export else "a model class of the team"),
    }
    if team.features_sql is not None:
        texts["features.sql"] = team.features_sql
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in (files | {path: text.encode() for path, text in texts.items()}).items():
            (folder / path).write_bytes(content)
        if export is not None and export.graph is not None:
            export = replace(export, graph=described(export.graph, team.contract, facts))
        kind = _write_python(team, model, folder) if export is None else _write_matrix(model, export, folder)
        return bundles.publish(
            settings.store, folder, kind | facts, _made(facts), check=None if export is None else Predictor
        )


def model_card(contract: Contract, facts: Mapping[str, Any], runtime: str) -> str:
    """Return the model card as Markdown (Mitchell et al. 2019).

    `facts` are those of `bundle.json`; `runtime` is one line about what runs the model. The card does not contain the
    version, which is derived from the hash of all files including this one.
    """
    import jinja2

    strict = jinja2.StrictUndefined
    environment = jinja2.Environment(undefined=strict, finalize=_cell, trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string(CARD.read_text(encoding="utf-8"))
    columns = [(column, _expected(column)) for column in contract.columns]
    return template.render(contract=contract, facts=facts, runtime=runtime, columns=columns)


def described(graph: bytes, contract: Contract, facts: Facts) -> bytes:
    """Return a graph with its name, version, contract, target and input columns as `metadata_props`, each as JSON.

    The version is the beginning of that of the bundle, whose other part is a hash of all files including this one.
    """
    import onnx

    model, target = onnx.load_model_from_string(graph), contract.target
    about = {"name": facts["name"], "version": _made(facts), "task": target.task, "label": target.label}
    about |= {"contract": hashlib.sha256(contract.to_json().encode()).hexdigest(), "classes": target.classes}
    inputs = {column.name: column.unit for column in contract.inputs if column.name not in facts["empty"]}
    about |= {"unit": target.unit, "inputs": inputs}
    texts = {name: json.dumps(value) for name, value in about.items()}
    # A name may be one of the texts for which a graph is refused.
    for mark in map(bytes.decode, FOREIGN):
        texts = {name: text.replace(mark, f"\\u{ord(mark[0]):04x}{mark[1:]}") for name, text in texts.items()}
    onnx.helper.set_model_props(model, texts)
    return bytes(model.SerializeToString())


def _made(facts: Facts) -> str:
    return datetime.fromisoformat(facts["created"]).strftime("%Y%m%dT%H%M%S%f")


def _golden_rows(dataset: Dataset, train: Train) -> list[dict[str, Any]]:
    """Return rows of what models read that describe no real entity: columns are drawn on their own, keys synthetic."""
    contract, frame = dataset.team.contract, dataset.holdout.frame
    random, size = np.random.default_rng(train.seed), min(train.golden_rows, len(frame))
    columns: dict[str, list[Any]] = {}
    kinds: dict[str, Any] = {"number": float, "integer": int, "boolean": bool, "time": datetime.isoformat}
    for column in contract.inputs:
        drawn = frame[column.name].iloc[random.choice(len(frame), size, replace=False)]
        convert, known = kinds.get(column.kind, str), zip(drawn, drawn.notna(), strict=True)
        columns[column.name] = [convert(value) if is_known else None for value, is_known in known]
    for column in contract.keys:
        texts = [f"golden-{at}"[-(column.max_length or 99) :] for at in range(size)]
        other: dict[str, list[Any]] = {"time": ["2000-01-01T00:00:00Z"] * size, "integer": [*range(size)]}
        columns[column.name] = other.get(column.kind, texts)
    return [{column.name: columns[column.name][at] for column in contract.framed} for at in range(size)]


def _write_matrix(model: Model, export: Export, folder: Path) -> dict[str, Any]:
    import skops.io

    assert isinstance(model, SkopsModel)
    text = json.dumps(export.report, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / EXPORT).write_text(f"{text}\n", encoding="utf-8")
    try:
        content = skops.io.dumps(model.estimator)
        unknown = untrusted_types(content)
    except Exception as error:  # Estimators of any library are possible, and so are their exceptions.
        unknown = [f"what skops cannot write ({type(error).__name__})"]
    if not unknown:
        # An ONNX bundle keeps the estimator for people to inspect; the service does not read it.
        (folder / "model.skops").write_bytes(content)
    if export.graph is not None:
        (folder / "model.onnx").write_bytes(export.graph)
        return {"kind": "onnx", "requires": bundles.installed_versions(["numpy", "onnxruntime"])}
    if unknown:
        problem = f"the model does not convert to ONNX ({export.report['reason']}), and it contains "
        problem += f"{', '.join(unknown)}, which a bundle of kind skops does not take"
        hint = "lifecycle/docs/serving.md lists what converts. Otherwise return a `python` model from candidate() in "
        hint += "src/model/estimator.py (see PythonModel in lifecycle.contract.team)."
        raise LifecycleError(problem, hint)
    return {"kind": "skops", "requires": bundles.installed_versions(["numpy", "scikit-learn", "skops"])}


def _write_python(team: Team, model: Model, folder: Path) -> dict[str, Any]:
    assert isinstance(model, FrameModel)
    directory, cls = folder / "model", type(model.model)
    directory.mkdir()
    model.model.save(directory)
    bundles.copy_code(cls, folder)
    pickles = [path.name for path in directory.rglob("*") if path.is_file() and _is_pickle(path)]
    if pickles:
        problem = f"{cls.__name__}.save() wrote a pickle ({pickles[0]}), which runs code when it is loaded"
        raise LifecycleError(problem, "Write arrays as .npy or JSON, and models in their library's own format.")
    facts = bundles.verify_alone(cls, folder)
    names = {"numpy", "pandas", *requirements(facts["requires"], team.name)}
    return facts | {"requires": bundles.installed_versions(sorted(names))}


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2)
    # torch.save writes a zip archive that contains a pickle.
    inside = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    protocol = start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")
    return protocol or any(name.endswith(PICKLES) for name in (path.name, *inside))


def _expected(column: Column) -> str:
    if column.kind != "category":
        return " … ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in column.expected[:2])
    levels = column.levels or column.expected
    return ", ".join(map(str, levels[:10])) + (" …" if len(levels) > 10 else "")


def _cell(value: Any) -> str:
    # A name may contain characters that end a cell or a line, or that start other Markdown.
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

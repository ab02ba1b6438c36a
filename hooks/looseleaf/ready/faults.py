"""Plant faults in a copy of the prediction log and run monitoring on it, and erase a key in another copy."""

import csv
import io
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import connect, describe, quoted, write_parquet
from lifecycle.registry import predictions
from lifecycle.storage import Store
from looseleaf.ready.evidence import Document, Evidence, History
from looseleaf.ready.place import Place


def monitoring(evidence: Evidence, storage: Path) -> Iterator[tuple[str, Document]]:
    """Plant each fault in a copy of the log and run monitoring on it, and erase a key in another copy."""
    from looseleaf.year.repository import SETTINGS

    history, contract, report = evidence.history, evidence.contract, evidence.report
    if history is None or report is None:
        return
    settings, as_of = dict(SETTINGS) if history.is_simulated else {}, report.document["as_of"]
    done: dict[str, Any] = {"log": history.version}
    for fault, column, expression in _faults(contract):
        place = _copy(evidence, history, storage / fault, settings)
        if column:
            _rewrite(place.storage / "predictions" / history.environment, column, expression)
        place.run("monitor", "--as-of", as_of, "--environment", history.environment, may_refuse=True)
        found = place.newest(f"reports/{history.environment}/*/monitoring.json")
        done[fault] = {"verdict": found["verdict"], "text": found["reasons"][0]["text"] if found["reasons"] else "ok"}
    yield "monitoring", done
    yield "erasure", _erased(_copy(evidence, history, storage / "erasure", settings), history.environment, contract)


def _faults(contract: Contract) -> Iterator[tuple[str, str, str]]:
    """Yield each fault with its column and its expression; the first one is no fault."""
    third = "hash(lifecycle_request, lifecycle_position) % 3 = 0"
    logged = [each for each in contract.inputs if each.loggable]
    yield "clean", "", ""
    for each in sorted(logged, key=lambda each: not each.nullable)[:1]:
        yield "nulls", each.name, f"CASE WHEN {third} THEN NULL ELSE {quoted(each.name)} END"
    wrong = {each.name: f"{each.low - 1}" for each in logged if each.low is not None}
    wrong |= {each.name: "'not a level'" for each in logged if each.levels}
    for name, value in list(wrong.items())[:1]:
        yield "invalid", name, f"CASE WHEN {third} THEN {value} ELSE {quoted(name)} END"
    for each in [each for each in logged if each.source == "lookup" and each.kind in ("number", "integer")][:1]:
        yield "skew", each.name, f"{quoted(each.name)} + (CASE WHEN {third} THEN 1 ELSE 0 END)"


def _copy(evidence: Evidence, history: History, storage: Path, settings: Mapping[str, str]) -> Place:
    """Return a storage with the bundles, deployments, labels and logged predictions of another one."""
    shutil.copytree(history.storage / "deployments", storage / "deployments")
    (storage / "bundles").symlink_to(history.storage / "bundles")
    for name in ("labels", f"predictions/{history.environment}"):
        if (history.storage / name).is_dir():
            shutil.copytree(history.storage / name, storage / name, ignore=shutil.ignore_patterns("segments", ".*"))
    # No bootstrap decides whether data are broken.
    return Place(evidence.root, storage, dict(settings) | {"DATA": str(history.data), "GATE__RESAMPLES": "100"})


def _rewrite(folder: Path, column: str, expression: str) -> None:
    """Replace a column in every Parquet file of a folder; a file without the column stays."""
    for path in sorted(folder.glob("*/*.parquet")):
        rows = predictions.table_of([path])
        with connect() as connection:
            if column in describe(connection, f"FROM {rows}"):
                write_parquet(connection, f"SELECT * REPLACE ({expression} AS {quoted(column)}) FROM {rows}", path)


def _erased(place: Place, environment: str, contract: Contract) -> Document:
    """Erase the key, or the id, of a logged row, and count the rows of it and of others before and after."""
    columns = [each for each in ((contract.id,) if contract.id else contract.entity_key) if each]
    if not columns or not all(each.loggable for each in columns):
        return {"problem": "the log has no key and no id, so that nothing in it can be found to erase"}
    rows = predictions.table_of(predictions.files(Store(place.storage), environment))
    names = ", ".join(quoted(each.name) for each in columns)
    with connect() as connection:
        value = connection.execute(f"SELECT {names} FROM {rows} LIMIT 1").fetchone() or ()
        same = " AND ".join(f"{quoted(each.name)} = ?" for each in columns)
        query, text = f"SELECT count(*) FILTER ({same}), count(*) FILTER (NOT ({same})) FROM {rows}", io.StringIO()
        ((own, others),) = connection.execute(query, [*value, *value]).fetchall()
        csv.writer(text, lineterminator="").writerow(value)
        place.run("erase", *(("--id", str(value[0])) if contract.id else ("--", text.getvalue())))
        ((left, kept),) = connection.execute(query, [*value, *value]).fetchall()
    return {"erased": own - left, "left": left, "others": others - kept}

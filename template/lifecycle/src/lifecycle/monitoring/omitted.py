"""Count what a report leaves out: predictions without a usable label, labels without a prediction, damaged lines."""

from typing import TYPE_CHECKING, Any

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import count, text
from lifecycle.monitoring import collect
from lifecycle.registry import labels, predictions
from lifecycle.storage import Store
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

# How requests and files of batch predictions begin.
BATCH = "score-"
TEXTS = {
    "other_versions": "predictions of the windows were made by other versions",
    "later": "batch predictions are for a time after this report and belong to a window of a later one",
    "immature": "predictions are younger than {days} days (monitor.label_days), too young for a label",
    "unlabelled": "older predictions have no label",
    "trained_on": "labelled predictions are for days that the training data contain",
    "unmatched": "labels that became known in the windows match no collected prediction",
    "damaged": "lines of the prediction log could not be read",
}


def described(counts: dict[str, int], label_days: int) -> list[dict[str, Any]]:
    """Return kind, count and a sentence for each count that is not zero."""
    return [
        {"kind": kind, "count": counts[kind], "text": f"{counts[kind]:,} {phrase.format(days=label_days)}"}
        for kind, phrase in TEXTS.items()
        if counts.get(kind)
    ]


def unusable(connection: "Connection", as_of: int, label_days: int, eligible: str) -> dict[str, int]:
    """Count the rows of the table LABELLED that quality does not use; `eligible` is SQL that labelled rows fulfil."""
    mature, known = f"ts <= {as_of - label_days * DAY}", f"{labels.LABEL} IS NOT NULL"
    conditions = {
        "immature": f"NOT ({mature})",
        "unlabelled": f"{mature} AND NOT ({known})",
        "trained_on": f"{mature} AND {known} AND NOT ({eligible})",
    }
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions.values())
    found = connection.execute(f"SELECT {counts} FROM {labels.LABELLED}").fetchone() or ()
    return dict(zip(conditions, found, strict=True))


def outside_the_report(
    connection: "Connection", store: Store, environment: str, contract: Contract, version: str, first: int, as_of: int
) -> dict[str, int]:
    """Count what is not in the table of a version's predictions from `first` until before `as_of`, in seconds."""
    found = {"damaged": collect.damaged_lines(store, environment, first, as_of)}
    paths = predictions.files(store, environment)
    queries = {"unmatched": f"FROM ({labels.known(store, as_of)}) l WHERE l.seen_ts >= {first}"}
    if paths:
        source = predictions.table_of(paths)
        for condition in labels.conditions(connection, contract, source):
            # One for each way to match: a single condition with OR could not be a hash join.
            queries["unmatched"] += f" AND NOT EXISTS (SELECT 1 FROM {source} p WHERE {condition})"
        others = f"ts >= {first} AND ts < {as_of} AND version <> {text(version)}"
        queries["later"] = f"FROM {source} WHERE ts >= {as_of} AND starts_with(lifecycle_request, {text(BATCH)})"
        queries["other_versions"] = f"FROM {source} WHERE {others}"
    return found | {kind: count(connection, query) for kind, query in queries.items()}

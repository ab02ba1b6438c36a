"""Labels as they became known, and the predictions they belong to."""

from typing import TYPE_CHECKING

from lifecycle.contract import Contract
from lifecycle.frames import quoted, text
from lifecycle.predictions import LOGGED
from lifecycle.store import Store

if TYPE_CHECKING:
    import duckdb

LABELLED = "lifecycle_labelled"


def joined(connection: "duckdb.DuckDBPyConnection", store: Store, contract: Contract, as_of: int) -> None:
    """Fill the table LABELLED with the rows of LOGGED whose label was known at `as_of`: the last one seen."""
    files = sorted(store.labels.glob("*.parquet")) if store.labels.is_dir() else []
    known = (
        f"SELECT * FROM read_parquet([{', '.join(text(str(path)) for path in files)}], union_by_name = true) "
        f"WHERE seen_ts <= {int(as_of)}"
        if files
        else "SELECT NULL::VARCHAR request_id, 0 AS position, NULL::VARCHAR AS key, NULL::BIGINT AS ts, "
        "NULL::VARCHAR AS label, NULL::BIGINT AS seen_ts WHERE FALSE"
    )
    matches = "k.request_id = l.lifecycle_request AND k.position = l.lifecycle_position"
    if contract.key is not None and contract.key.loggable:
        key = f"CAST(l.{quoted(contract.key.name)} AS VARCHAR)"
        matches = f"({matches}) OR (k.key = {key} AND k.ts // 86400 = l.ts // 86400)"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {LABELLED} AS SELECT l.*, found.label, label_seen_ts FROM {LOGGED} l JOIN ("
        "SELECT l.lifecycle_request, l.lifecycle_position, arg_max(k.label, k.seen_ts) AS label, "
        f"max(k.seen_ts) AS label_seen_ts FROM {LOGGED} l JOIN ({known}) k ON {matches} GROUP BY ALL"
        ") found USING (lifecycle_request, lifecycle_position)"
    )

"""The repository in which a year is played: its commands and service, at a simulated time and with data of its own."""

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb

from lifecycle import timestamps
from lifecycle.contract.tables import write_parquet
from lifecycle.storage import write_atomically
from looseleaf.project import in_process, service
from looseleaf.steps import StepFailed
from looseleaf.year.clock import simulated

TIMEOUT = 10
SETTINGS = {
    "TRACKING__ENABLED": "false",
    "LOG__ENABLED": "true",
    "RETRAIN__ENABLED": "true",
    "MONITOR__STALE_DAYS": "400",
    "MONITOR__WINDOW_DAYS": "31",
    "LOG__FLUSH_SECONDS": "0.02",
    "SERVE__POLL_SECONDS": "0.05",
}


@dataclass(frozen=True)
class Question:
    """A customer to predict at `ts`, the offered discount, and whether the customer leaves within 30 days."""

    customer: str
    ts: int
    discount: float
    churned: bool


class Repository:
    """A rendered repository; everything that its commands write is below `place`."""

    def __init__(self, root: Path, place: Path) -> None:
        """Raise StepFailed where the repository has another table than the sample's, or no service."""
        self.root, self.place = root, place
        contract = json.loads((root / "contract.json").read_text(encoding="utf-8"))
        if contract["x-target"]["x-label"] != "churned" or "customer_id" not in contract["properties"]:
            hint = "Render the template into a new folder, and run make year there."
            raise StepFailed("make year plays the sample's year, and this repository has a table of its own", hint)
        if not (root / "lifecycle/src/lifecycle/serving").is_dir():
            raise StepFailed("make year needs a service, and this repository has none", "Render one with usage online.")
        self.storage, self.data, self.all_data = place / "storage", place / "data", place / "all-data"
        self.data.mkdir(parents=True)
        self.clock = place / "clock"
        own = {"STORAGE": self.storage, "DATA": self.data} | SETTINGS
        self.settings = {f"LIFECYCLE_{name}": str(value) for name, value in own.items()}

    def set_clock(self, timestamp: int, new_data: bool = True) -> None:
        """Set the simulated time; with `new_data`, the tables contain what a company would have known by then."""
        tables = {"customers": "TRUE", "events": "seen_ts < {}", "labels": "seen_ts <= {}"} if new_data else {}
        with duckdb.connect() as connection:
            for name, known in tables.items():
                query = f"FROM '{self.all_data}/{name}.parquet' WHERE {known.format(timestamp)}"
                write_parquet(connection, query, self.data / f"{name}.parquet")
        write_atomically(self.clock, timestamps.format_utc(timestamp).encode())

    def run(self, *words: str, may_refuse: bool = False, settings: Mapping[str, str] | None = None) -> str:
        """Run a command and return its output; raise StepFailed unless it ends with 0, or with 1 where it may."""
        given = {f"LIFECYCLE_{name}": value for name, value in (settings or {}).items()}
        with patch.object(timestamps, "clock", partial(simulated, self.clock)):
            code, output = in_process(self.root, words, self.settings | given)
        if code and not (may_refuse and code == 1):
            raise StepFailed(f"lifecycle {' '.join(words)} ended with {code}", "See the lines above.", output)
        return output

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Run the service and return its address."""
        with (
            patch.dict(os.environ, self.settings),
            service(self.root, self.place / "serve.log", clock=self.clock) as address,
        ):
            yield address

    def wait_for(self, address: str, name: str, value: Any) -> None:
        """Wait until /info of the service reports a value; raise StepFailed after ten seconds."""

        def reports_it() -> bool:
            with urllib.request.urlopen(f"{address}/info", timeout=10) as response:
                return bool(json.load(response)[name] == value)

        self._wait(reports_it, f"the service did not load {name} {value}")

    def wait_for_log(self, request_id: str) -> None:
        """Wait until a request is on the disk: the service writes its log shortly after it responds."""

        def contains_it() -> bool:
            segments = (self.storage / "predictions/local/segments").glob("[!.]*")
            return any(f'"{request_id}"'.encode() in segment.read_bytes() for segment in segments)

        self._wait(contains_it, f"the log does not contain the request {request_id}")

    def _wait(self, check: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + TIMEOUT
        while not check():
            if time.monotonic() > end:
                raise StepFailed(f"{problem} after {TIMEOUT} s", f"See {self.place}/serve.log.")
            time.sleep(0.02)

    def questions(self, ts: int, new_until: int = 0) -> list[Question]:
        """Return the customers at the first of a month (none at another time), and the new ones until `new_until`."""
        query = f"""
            SELECT customer_id, ts, discount, churned FROM '{self.all_data}/labels.parquet' WHERE ts = {ts}
            UNION ALL SELECT customer_id, joined, 0, FALSE FROM '{self.all_data}/customers.parquet'
            WHERE joined >= {ts} AND joined < {new_until} ORDER BY hash(customer_id)
        """
        return [Question(*row) for row in duckdb.connect().execute(query).fetchall()]

    def mixed_up_labels(self) -> dict[str, str]:
        """Return settings for tables whose labels belong to other customers."""
        folder = self.place / "mixed-up"
        folder.mkdir()
        for name in ("customers", "events"):
            os.link(self.data / f"{name}.parquet", folder / f"{name}.parquet")
        labels = f"FROM '{self.data}/labels.parquet'"
        duckdb.connect().execute(f"""
            COPY (
                SELECT a.* EXCLUDE (churned, place), b.churned
                FROM (SELECT *, row_number() OVER (ORDER BY customer_id, ts) AS place {labels}) a
                JOIN (SELECT churned, row_number() OVER (ORDER BY hash(customer_id, ts)) AS place {labels}) b
                USING (place)
            ) TO '{folder}/labels.parquet' (FORMAT parquet)
        """)
        return {"DATA": str(folder)}

    def report(self) -> dict[str, Any]:
        """Return the newest report of monitoring."""
        return dict(json.loads((self.storage / "reports/local/monitoring.json").read_bytes()))

    def retrains(self) -> list[dict[str, Any]]:
        """Return the record of every retrain."""
        path = self.storage / "reports/local/retrains.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def deployed(self) -> dict[str, Any]:
        """Return the deployed version and its threshold."""
        return dict(json.loads((self.storage / "deployments/local.json").read_bytes())["live"])

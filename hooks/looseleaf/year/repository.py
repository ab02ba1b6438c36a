"""The repository that a year is played in: its verbs, its service, and a storage, tables and clock apart."""

import contextlib
import io
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from looseleaf.project import post, service
from looseleaf.steps import StepFailed

PATIENCE = 10
# What `config/` of a repository would say, so that one cron line does it all.
SETTINGS = {
    "TRACKING__ENABLED": "false",
    "LOG__ENABLED": "true",
    "RETRAIN__ENABLED": "true",
    "SCHEDULE": "{collect: 14d, features: 14d, monitor: 28d, retrain: 14d}",
    "MONITOR__STALE_DAYS": "400",
    "MONITOR__WINDOW_DAYS": "31",
    "LOG__FLUSH_SECONDS": "0.02",
    "LOG__SEGMENT_SECONDS": "0.02",
    "SERVE__POLL_SECONDS": "0.05",
}


def when(moment: int) -> str:
    """A moment in ISO 8601."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def moment_of(date: str) -> int:
    """00:00 UTC of a date, in seconds since 1970."""
    return int(datetime.fromisoformat(f"{date}T00:00:00+00:00").timestamp())


@dataclass(frozen=True)
class Question:
    """A customer who is asked about at `ts`, the discount on offer, and what becomes of them within 30 days."""

    customer: str
    ts: int
    discount: float
    churned: bool


class Repository:
    """Runs `lifecycle VERB` in this process; what it writes lies below `place`."""

    def __init__(self, root: Path, place: Path) -> None:
        """Raises StepFailed where the repository is about another table than the sample's."""
        self.root, self.place = root, place
        contract = json.loads((root / "contract.json").read_text(encoding="utf-8"))
        if contract["x-target"]["x-label"] != "churned" or "customer_id" not in contract["properties"]:
            hint = "Render the template into a new folder, and run make year there."
            raise StepFailed("make year plays the sample's year, and this repository is about a table of its own", hint)
        if not (root / "lifecycle/src/lifecycle/serving").is_dir():
            raise StepFailed("make year asks a service, and this repository has none", "Render one with usage online.")
        place.mkdir(parents=True)
        self.storage, self.data, self.clock = place / "storage", place / "data", place / "clock"
        own = {"STORAGE": self.storage, "DATA": self.data, "CLOCK": self.clock} | SETTINGS
        self.environment = {f"LIFECYCLE_{name}": str(value) for name, value in own.items()}

    def set_clock(self, moment: int) -> None:
        """Let it be that moment."""
        draft = self.clock.with_suffix(".draft")
        draft.write_text(when(moment), encoding="utf-8")
        draft.replace(self.clock)

    def run(self, *words: str, may_refuse: bool = False, settings: Mapping[str, str] | None = None) -> str:
        """Run a verb and return what it printed; raises StepFailed unless it ends with 0, or with 1 where it may."""
        from lifecycle.cli import entry

        said, given = io.StringIO(), {f"LIFECYCLE_{name}": value for name, value in (settings or {}).items()}
        with (
            patch.dict(os.environ, self.environment | given),
            contextlib.chdir(self.root),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            code = entry.main(list(words))
        if code and not (may_refuse and code == 1):
            raise StepFailed(f"lifecycle {' '.join(words)} ended with {code}", "See the lines above.", said.getvalue())
        return said.getvalue()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The address of the running service."""
        with patch.dict(os.environ, self.environment), service(self.root, self.place / "serve.log") as address:
            yield address

    def ask(self, address: str, body: Any, request_id: str) -> list[dict[str, Any]]:
        """The answers to one row or a list of rows."""
        found = post(f"{address}/predict", body, **{"X-Request-ID": request_id})
        return found if isinstance(found, list) else [found]

    def wait_for(self, address: str, name: str, value: Any) -> None:
        """Wait until /info of the service says so; raises StepFailed after ten seconds."""

        def says_so() -> bool:
            with urllib.request.urlopen(f"{address}/info", timeout=10) as response:
                return bool(json.load(response)[name] == value)

        self._wait(says_so, f"the service did not take over {name} {value}")

    def wait_for_log(self, request_id: str) -> None:
        """Wait until a request is on the disk: the service writes its log a moment after it answers."""

        def holds_it() -> bool:
            segments = (self.storage / "predictions/local/segments").glob("*.jsonl")
            return any(f'"{request_id}"'.encode() in segment.read_bytes() for segment in segments)

        self._wait(holds_it, f"the log does not hold the request {request_id}")

    def _wait(self, check: Callable[[], bool], problem: str) -> None:
        end = time.monotonic() + PATIENCE
        while not check():
            if time.monotonic() > end:
                raise StepFailed(f"{problem} after {PATIENCE} s", f"See {self.place}/serve.log.")
            time.sleep(0.02)

    def write_sample(self, customers: int) -> None:
        """Write the sample's tables, with the drift of the last quarter."""
        from lifecycle.sample import generate

        generate.write(self.data, drift=True, customers=customers)

    def questions(self, ts: int) -> list[Question]:
        """Who is asked about at a moment: everybody at the first of a month, nobody in between."""
        import duckdb

        query = f"""
            SELECT customer_id, ts, discount, churned FROM '{self.data}/labels.parquet'
            WHERE ts = {ts} ORDER BY hash(customer_id)
        """
        return [Question(*row) for row in duckdb.connect().execute(query).fetchall()]

    def mixed_up_labels(self) -> dict[str, str]:
        """Settings for tables whose labels belong to other customers."""
        import duckdb

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

    def report(self) -> dict[str, Any] | None:
        """The newest report of monitoring."""
        path = self.storage / "reports/local/monitoring.json"
        return dict(json.loads(path.read_bytes())) if path.exists() else None

    def newest_page(self) -> str:
        """Where the newest report can be read."""
        pages = sorted((self.storage / "reports/local").glob("*/monitoring.html"))
        if not pages:
            raise StepFailed("monitoring has written no report", "Report this.")
        return str(pages[-1])

    def retrains(self) -> list[dict[str, Any]]:
        """Every retrain so far."""
        path = self.storage / "reports/local/retrains.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def deployment(self) -> dict[str, Any]:
        """What answers."""
        return dict(json.loads((self.storage / "deployments/local.json").read_bytes()))

"""What answers now, and the follower that changes it when the storage changes."""

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lifecycle.contract.rows import RowReader
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.features.online import FeatureTable, table_path
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployment
from lifecycle.settings import ENVIRONMENTS
from lifecycle.storage import Store

log = logging.getLogger("lifecycle.serving")
# What could not be loaded is tried again although nothing seems to have changed: a file may have been copied in place.
RETRY_AFTER_LOOKS = 10

Stamps = frozenset[tuple[str, int, int, int]]


@dataclass(frozen=True)
class Served:
    """All that one request needs, taken once: a swap in between neither drops nor mixes it."""

    deployment: Deployment
    predictor: Predictor
    reader: RowReader
    table: FeatureTable | None

    @property
    def contract(self) -> Contract:
        """The row and the answer, as the bundle has them."""
        return self.predictor.contract

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.predictor.bundle.version

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer tells of it."""
        contract = str(self.contract.version).encode()
        return [(b"x-model-version", self.version.encode()), (b"x-contract-version", contract)]

    @cached_property
    def head(self) -> bytes:
        """The same as lines of HTTP."""
        return b"".join(b"%b: %b\r\n" % header for header in self.headers)

    @cached_property
    def is_fast(self) -> bool:
        """Whether the model predicts in less time than handing the rows to a thread takes."""
        return self.predictor.is_fast

    def answers(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers on the wire for completed rows. An estimator refuses a matrix without rows: it is not asked."""
        return self.predictor.predict(rows, self.deployment.current.threshold) if rows else []

    @property
    def lacks_features(self) -> bool:
        """Whether the contract has entity columns and there is no table to look them up in."""
        return bool(self.contract.lookups) and self.table is None


class Follower:
    """The one `Served` of an environment, what could not replace it (`pending`), and what was counted on the way."""

    def __init__(self, store: Store, environment: str, max_rows: int) -> None:
        """Load what is deployed; raises LifecycleError when nothing is, or when it cannot answer here."""
        self.store, self.environment, self.max_rows = store, environment, max_rows
        self.pending = ""
        self.ignored: Counter[str] = Counter()
        self.fallback_rows = 0
        self._request_fields: dict[str, frozenset[str]] = {}
        self._looks = 0
        self._seen = self._stamps()
        self.served = self._load(None)

    async def follow(self, every: float) -> None:
        """Look at the storage for ever; loading happens in a thread, so that requests go on."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Swap when the storage has changed; never raises: what cannot be loaded leaves the old one answering."""
        self._looks += 1
        try:
            stamps = self._stamps()
            if stamps == self._seen and not (self.pending and self._looks % RETRY_AFTER_LOOKS == 0):
                return
            self._seen = stamps
            served = self._load(self.served)
        except Exception as error:
            self._postpone(error)
            return
        if served.deployment != self.served.deployment:
            log.info("%s answers now (it was %s)", served.version, self.served.version)
        self.pending = ""
        self.served = served

    def _postpone(self, error: Exception) -> None:
        expected = isinstance(error, LifecycleError)
        # What a team's code says may hold anything: its type is told, and the log has the lines that it went through.
        reason = error.problem if isinstance(error, LifecycleError) else type(error).__name__
        if reason != self.pending:
            told = str(error) if expected else reason
            log.error("%s goes on answering: %s", self.served.version, told, exc_info=None if expected else error)
        self.pending = reason

    def _stamps(self) -> Mapping[str, Stamps]:
        store = self.store
        return {path.name: _listing(path) for path in (store.deployments, store.bundles, store.features)}

    def _load(self, old: Served | None) -> Served:
        deployment = deployments.required(self.store, self.environment)
        if old and old.version == deployment.current.version:
            predictor = old.predictor
        else:
            predictor = Predictor(open_version(self.store, deployment.current.version))
        reader = RowReader(predictor.contract, self._known_elsewhere(deployment.current.version), self.max_rows)
        new = Served(deployment, predictor, reader, self._table(predictor, old))
        if old and new.lacks_features and not old.lacks_features:
            problem = (
                f"{new.version} is deployed, and {table_path(self.store, predictor.bundle.feature_set)} is missing"
            )
            raise LifecycleError(problem, "`make features` writes it.")
        return new

    def _table(self, predictor: Predictor, old: Served | None) -> FeatureTable | None:
        if not predictor.contract.lookups:
            return None
        path = table_path(self.store, predictor.bundle.feature_set)
        if old and old.predictor is predictor and old.table and old.table.is_current():
            return old.table
        try:
            return FeatureTable(path, predictor.contract)
        except FileNotFoundError:
            return None

    def _known_elsewhere(self, live: str) -> frozenset[str]:
        """Every field that a bundle takes from the caller which is deployed (a rollback is near) or newer (a roll-out).

        Of the others, nobody expects an answer: such a field is a slip of the caller.
        """
        near = {version for version in self.store.versions() if version > live}
        for environment in ENVIRONMENTS:
            # A damaged file of another environment is not for this one to tell.
            with contextlib.suppress(LifecycleError):
                near |= deployments.versions_in_use(self.store, environment)
        return frozenset().union(*map(self._fields_of, near))

    def _fields_of(self, version: str) -> frozenset[str]:
        if version not in self._request_fields:
            path = self.store.bundles / version / "contract.json"
            try:
                contract = Contract.from_json(path.read_bytes(), where=str(path))
            except (OSError, LifecycleError):
                # Half copied, or broken: it is refused by name once somebody deploys it.
                return frozenset()
            self._request_fields[version] = frozenset(column.name for column in contract.request)
        return self._request_fields[version]


def _listing(folder: Path) -> Stamps:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return frozenset()
    return frozenset((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found)

"""The deployed model of an environment, and the follower that replaces it when the deployment or features change."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lifecycle.contract.rows import RowReader
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.features.online import FeatureTable, table_path
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import audit, deployments
from lifecycle.registry.deployments import Deployment
from lifecycle.storage import Store

log = logging.getLogger("lifecycle.serving")
# Loading a large bundle again at every check would take a whole core while something is missing.
CHECKS_BEFORE_RETRY = 10


@dataclass(frozen=True, eq=False)
class DeployedModel:
    """Everything that one request needs. A request keeps the object it began with, so a swap never mixes versions."""

    deployment: Deployment
    predictor: Predictor
    reader: RowReader
    features: FeatureTable | None

    @property
    def contract(self) -> Contract:
        """The contract in the bundle."""
        return self.predictor.contract

    @property
    def version(self) -> str:
        """The deployed version."""
        return self.predictor.bundle.version

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers that identify the model."""
        contract = str(self.contract.version).encode()
        return [(b"x-model-version", self.version.encode()), (b"x-contract-version", contract)]

    @property
    def lacks_features(self) -> bool:
        """Whether the contract has looked-up columns and there is no table of them yet."""
        return bool(self.contract.lookups) and self.features is None

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return one response object for each complete row; scikit-learn estimators reject an empty matrix."""
        return self.predictor.predict(rows, self.deployment.current.threshold) if rows else []


class DeploymentFollower:
    """The `deployed` model of one environment; `pending` says why a newer deployment is not in use yet."""

    def __init__(self, store: Store, environment: str, max_rows: int) -> None:
        """Load the deployed model.

        Raises:
            LifecycleError: nothing is deployed, or the bundle cannot be loaded or does not reproduce its golden rows.
        """
        self.store, self.environment, self.max_rows = store, environment, max_rows
        self.pending, self._checks = "", 0
        self.deployed = self._load(deployments.required(store, environment), None)
        self._seen = self.deployed.deployment

    async def follow(self, seconds: float) -> None:
        """Check every so many seconds, in a thread: loading a bundle must not delay requests."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.check)

    def check(self) -> None:
        """Load what has changed. Never raises: after a failure, the model loaded before stays in use."""
        old = self.deployed
        self._checks += 1
        try:
            deployment = deployments.required(self.store, self.environment)
            is_due = bool(self.pending) and self._checks % CHECKS_BEFORE_RETRY == 0
            if deployment == self._seen and not self._features_changed(old) and not is_due:
                return
            self._seen = deployment
            self.deployed = self._load(deployment, old)
        except Exception as error:
            is_expected = isinstance(error, LifecycleError)
            # The message of any other exception may contain values of rows; its traceback is logged without it.
            reason = error.problem if isinstance(error, LifecycleError) else type(error).__name__
            if reason != self.pending:
                log.error("%s stays in use: %s", old.version, reason, exc_info=None if is_expected else error)
            self.pending = reason
            return
        if deployment != old.deployment:
            log.info("%s is in use now (before: %s)", self.deployed.version, old.version)
        self.pending = ""

    def _features_changed(self, model: DeployedModel) -> bool:
        if model.features:
            return not model.features.is_current()
        return model.lacks_features and table_path(self.store, model.predictor.bundle.feature_set).exists()

    def _load(self, deployment: Deployment, old: DeployedModel | None) -> DeployedModel:
        version = deployment.current.version
        predictor = old.predictor if old and old.version == version else Predictor(open_version(self.store, version))
        reader = RowReader(predictor.contract, self._other_request_fields(), self.max_rows)
        new = DeployedModel(deployment, predictor, reader, self._features(predictor, old))
        if old and new.lacks_features and not old.lacks_features:
            path = table_path(self.store, predictor.bundle.feature_set)
            raise LifecycleError(f"{version} is deployed, and {path} is missing", "Run `make features`.")
        return new

    def _features(self, predictor: Predictor, old: DeployedModel | None) -> FeatureTable | None:
        if not predictor.contract.lookups:
            return None
        if old and old.predictor is predictor and old.features and old.features.is_current():
            return old.features
        with contextlib.suppress(FileNotFoundError):
            return FeatureTable(table_path(self.store, predictor.bundle.feature_set), predictor.contract)
        return None

    def _other_request_fields(self) -> frozenset[str]:
        """Return the request fields of the version deployed before: callers may still send them."""
        fields: set[str] = set()
        # The log, not the deployment: a deployment made by a rollback does not name the version it replaced.
        for period in audit.periods(self.store, self.environment)[-2:]:
            path = self.store.bundles / period.version / "contract.json"
            # A bundle that was removed cannot be deployed again.
            with contextlib.suppress(OSError, LifecycleError):
                contract = Contract.from_json(path.read_bytes(), where=str(path))
                fields |= {column.name for column in contract.request}
        return frozenset(fields)

"""The deployed model, the follower that replaces it when deployment or features change, and the queue of requests."""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import Any

from lifecycle.contract.rows import Row, RowReader
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.features import FeatureTable, table_path
from lifecycle.models.bundle import open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.reports import LATEST
from lifecycle.storage import Store

log = logging.getLogger("lifecycle.serving")
# Loading a large bundle again at every check would take a whole core while something is missing.
CHECKS_BEFORE_RETRY = 10

Header = tuple[bytes, bytes]
Responses = list[Row]


@dataclass(frozen=True, eq=False)
class DeployedModel:
    """Everything that one request needs. A request keeps the object it began with, so a swap never mixes versions."""

    deployment: deployments.Deployment
    predictor: Predictor
    reader: RowReader
    features: FeatureTable | None

    @cached_property
    def contract(self) -> Contract:
        """The contract in the bundle."""
        return self.predictor.contract

    @property
    def version(self) -> str:
        """The deployed version."""
        return self.predictor.bundle.version

    @cached_property
    def headers(self) -> list[Header]:
        """The headers of every response to a prediction request."""
        identity = {b"x-model-version": self.version, b"x-contract-version": str(self.contract.version)}
        return [(b"content-type", b"application/json"), *((name, value.encode()) for name, value in identity.items())]

    @property
    def lacks_features(self) -> bool:
        """Whether the contract has looked-up columns and there is no table of them yet."""
        return bool(self.contract.lookups) and self.features is None

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Responses:
        """Return one response object for each complete row; scikit-learn estimators reject an empty matrix."""
        return self.predictor.predict(rows, self.deployment.current.threshold) if rows else []


class DeploymentFollower:
    """The `deployed` model of one environment; `pending` says why a newer deployment is not in use yet."""

    def __init__(self, store: Store, environment: str, max_rows: int) -> None:
        """Load the deployed model; LifecycleError where there is none or it does not reproduce its golden rows."""
        self.store, self.environment, self.max_rows = store, environment, max_rows
        self.pending, self._checks = "", 0
        self.deployed = self._load(None)
        # Empty, so that the first check finds what has changed since the files were read.
        self._seen: list[object] = []

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
            self.store.pull(*self._watched(old), f"reports/{self.environment}/{LATEST}")
            stamps = self._stamps()
            if stamps == self._seen and not (self.pending and self._checks % CHECKS_BEFORE_RETRY == 0):
                return
            self._seen = stamps
            self.deployed = self._load(old)
        except Exception as error:
            is_expected = isinstance(error, LifecycleError)
            # The message of any other exception may contain values of rows; its traceback is logged without it.
            reason = error.problem if isinstance(error, LifecycleError) else type(error).__name__
            if reason != self.pending:
                log.error("%s stays in use: %s", old.version, reason, exc_info=None if is_expected else error)
            self.pending = reason
            return
        if self.deployed.deployment != old.deployment:
            log.info("%s is in use now (before: %s)", self.deployed.version, old.version)
        self.pending = ""

    def _stamps(self) -> list[object]:
        """Return what changes when the deployment or the feature table in use is replaced or edited."""
        stamps: list[object] = []
        for name in self._watched(self.deployed):
            with contextlib.suppress(OSError):
                found = (self.store.root / name).stat()
                stamps.append((name, found.st_ino, found.st_mtime_ns, found.st_size))
        return stamps

    def _watched(self, model: DeployedModel) -> list[str]:
        table = table_path(self.store, model.predictor.bundle.feature_set)
        return [f"deployments/{self.environment}.json", table.relative_to(self.store.root).as_posix()]

    def _load(self, old: DeployedModel | None) -> DeployedModel:
        self.store.pull("deployments", self.store.audit.name)
        deployment = deployments.required(self.store, self.environment)
        version, features = deployment.current.version, None
        predictor = old.predictor if old and old.version == version else Predictor(open_version(self.store, version))
        path = table_path(self.store, predictor.bundle.feature_set)
        self.store.pull(path.relative_to(self.store.root).as_posix())
        if old and old.predictor is predictor and old.features and old.features.is_current():
            features = old.features
        elif predictor.contract.lookups:
            with contextlib.suppress(FileNotFoundError):
                features = FeatureTable(path, predictor.contract)
        reader = RowReader(predictor.contract, self._other_request_fields(), self.max_rows)
        new = DeployedModel(deployment, predictor, reader, features)
        if old and new.lacks_features and not old.lacks_features:
            raise LifecycleError(f"{version} is deployed, and {path} is missing", "Run `make features`.")
        return new

    def _other_request_fields(self) -> frozenset[str]:
        """Return the request fields of the version deployed before: callers may still send them."""
        fields: set[str] = set()
        # The log, not the deployment: a deployment made by a rollback does not name the version it replaced.
        for period in deployments.periods(self.store, self.environment)[-2:]:
            path = self.store.bundles / period.version / "contract.json"
            self.store.pull(path.relative_to(self.store.root).as_posix())
            # A bundle that was removed cannot be deployed again.
            with contextlib.suppress(OSError, LifecycleError):
                fields |= {column.name for column in Contract.from_json(path.read_bytes()).request}
        return frozenset(fields)


@dataclass
class _Request:
    model: DeployedModel
    rows: Sequence[Row]
    # The responses, or the exception: a future does not accept every exception as its own.
    result: "asyncio.Future[Responses | Exception]"

    async def responses(self) -> Responses:
        result = await self.result
        if isinstance(result, Exception):
            raise result
        return result


Predict = Callable[[DeployedModel, Sequence[Row]], Responses]


class BatchQueue:
    """Requests that `predict` predicts together, because a batch takes little longer than one of its rows.

    Short requests to a fast graph are predicted on the event loop, with all that arrived in the same iteration; others
    (of many rows, to a slow graph, to a skops or python model) in a thread, with those that arrived while it was busy.
    `rows` is the number of rows that wait for the thread or are being predicted there.
    """

    def __init__(self, predict: Predict, batch_rows: int) -> None:
        self.predict, self.batch_rows, self.rows = predict, batch_rows, 0
        self._arrived: list[_Request] = []
        self._queued: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def predict_on_loop(self, model: DeployedModel, rows: Sequence[Row]) -> Responses:
        """Return one response object for each complete row; raises whatever the model raises for them."""
        loop = asyncio.get_running_loop()
        if not self._arrived:
            # It runs after the tasks of the other requests that the event loop has received together with this one.
            loop.call_soon(self._predict_arrived)
        self._arrived.append(request := _Request(model, rows, loop.create_future()))
        return await request.responses()

    async def predict_in_thread(self, model: DeployedModel, rows: Sequence[Row]) -> Responses:
        """Return the same, predicted in the thread; a request that arrives alone never waits."""
        if self._thread is None:
            # A daemon: the process must be able to end while a model does not return.
            self._thread = threading.Thread(target=self._run, name="predict", daemon=True)
            self._thread.start()
        self.rows += len(rows)
        self._queued.put(request := _Request(model, rows, asyncio.get_running_loop().create_future()))
        try:
            return await request.responses()
        finally:
            self.rows -= len(rows)

    def _predict_arrived(self) -> None:
        # Not limited by `batch_rows`: predicted one after the other, the same requests would take longer.
        arrived, self._arrived = self._arrived, []
        for _, batch in groupby(arrived, key=lambda request: request.model):
            _deliver(*self._results(list(batch)))

    def _run(self) -> None:
        first = self._queued.get()
        while True:
            batch, rows, following = [first], len(first.rows), None
            while following is None and not self._queued.empty():
                following = self._queued.get()
                rows += len(following.rows)
                if following.model is first.model and rows <= self.batch_rows:
                    batch.append(following)
                    following = None
            # RuntimeError: the service has stopped meanwhile.
            with contextlib.suppress(RuntimeError):
                first.result.get_loop().call_soon_threadsafe(_deliver, *self._results(batch))
            first = following or self._queued.get()

    def _results(self, batch: list[_Request]) -> tuple[list[_Request], list[Responses | Exception]]:
        # A caller that went away or waited too long has cancelled its result.
        batch = [request for request in batch if not request.result.done()]
        return batch, predict_each(self.predict, batch[0].model, [request.rows for request in batch]) if batch else []


def predict_each(
    predict: Predict, model: DeployedModel, requests: Sequence[Sequence[Row]]
) -> list[Responses | Exception]:
    """Return the responses to each request, or its exception; a request that fails does not affect the others."""
    try:
        responses = iter(predict(model, [row for rows in requests for row in rows]))
        return [list(islice(responses, len(rows))) for rows in requests]
    # Libraries in other languages may raise a BaseException; it must not end the thread.
    except BaseException as error:
        if len(requests) == 1:
            failure = error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
            return [failure.with_traceback(error.__traceback__)]
        half = len(requests) // 2
        return [*predict_each(predict, model, requests[:half]), *predict_each(predict, model, requests[half:])]


def _deliver(batch: list[_Request], results: list[Responses | Exception]) -> None:
    for request, result in zip(batch, results, strict=True):
        if not request.result.done():
            request.result.set_result(result)

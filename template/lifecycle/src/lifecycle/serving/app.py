"""The application: /predict in front of the router, and the routes that people and orchestrators ask."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Response
from fastapi_offline import FastAPIOffline

from lifecycle import timestamps
from lifecycle.serving import auth, openapi
from lifecycle.serving.auth import RequireKey
from lifecycle.serving.limits import LATER
from lifecycle.serving.live import Follower
from lifecycle.serving.log import PredictionLog
from lifecycle.serving.metrics import CONTENT_TYPE, CountRequests, Metrics
from lifecycle.serving.predict import NO_FEATURES, PredictFirst
from lifecycle.settings import Log, Serve
from lifecycle.storage import Store

WORKER = "predict"
# What /info tells of the training, where the bundle has it.
TRAINED = ("created", "as_of", "estimator", "rows", "holdout", "code", "data")


def create(
    store: Store, environment: str, serve: Serve, log: Log | None = None, now: Callable[[], float] = time.time
) -> PredictFirst:
    """The application of one environment; raises LifecycleError when what is deployed cannot answer.

    Without `log`, nothing is kept of what it answers; `now` gives the moment of each answer, in seconds.
    """
    live = Follower(store, environment, serve.max_rows)
    metrics, keys = Metrics(live), auth.required(serve, environment)
    lose = metrics.dropped.inc
    kept = PredictionLog(store, environment, log, now, lose) if log and log.enabled else None
    # One thread answers, so that /healthz does meanwhile: an estimator gains nothing from a second one.
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=WORKER)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        jobs = [asyncio.create_task(each.follow(serve.poll_seconds)) for each in (live, keys)]
        if kept:
            jobs.append(asyncio.create_task(kept.run()))
        yield
        for job in jobs:
            job.cancel()
        if kept:
            kept.close()
        # What waits has been answered, or has waited longer than the drain may take.
        worker.shutdown(wait=False, cancel_futures=True)

    app: FastAPI = FastAPIOffline(
        title=live.served.predictor.bundle.facts.get("name", "model"),
        redoc_url=None,
        lifespan=lifespan,
        # The badge would ask a server on the internet.
        swagger_ui_parameters={"validatorUrl": None},
    )
    if keys:
        app.add_middleware(RequireKey, keys=keys)
    app.add_middleware(CountRequests, metrics=metrics)
    _add_routes(app, live, serve)
    _add_metrics(app, metrics)
    app.openapi = lambda: openapi.document(  # type: ignore[method-assign]
        app, live.served.version, live.served.contract, serve, bool(keys)
    )
    return PredictFirst(app, live, serve, worker, metrics, kept, keys)


def _add_routes(app: FastAPI, live: Follower, serve: Serve) -> None:
    @app.post(openapi.PATH, responses=openapi.errors(serve))
    async def predict(x_request_id: Annotated[str, Header()] = "") -> None:
        """Target one row or a list of rows: send key and request fields, what is known of the entity is looked up."""
        raise AssertionError("PredictFirst answers this route; it is declared for its documentation")

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: openapi.NOT_READY})
    async def readyz() -> dict[str, str | bool]:
        """Whether requests can be answered: the golden answers came back, and there are features to look up.

        `pending`: whether another version is deployed that cannot answer here; `/info` says why.
        """
        if live.served.lacks_features:
            raise HTTPException(503, NO_FEATURES, LATER)
        return {"status": "ready", "version": live.served.version, "pending": bool(live.pending)}

    @app.get("/info")
    async def info() -> dict[str, Any]:
        """What answers, since when, by whose decision, and what was counted since the service started."""
        return _info(live)


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", response_class=Response)
    def told() -> Response:
        """What was counted and what is true now, for Prometheus."""
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})


def _info(live: Follower) -> dict[str, Any]:
    served = live.served
    facts, table = served.predictor.bundle.facts, served.table
    decided = asdict(served.deployment)
    # As of the decision; a deployment of before OWNERS was read has what its training knew.
    owners = decided.pop("owners") or facts.get("owners", {})
    return {
        "name": facts.get("name"),
        "version": served.version,
        "kind": served.predictor.bundle.kind,
        "contract_version": served.contract.version,
        "label": served.contract.target.label,
        "task": served.contract.target.task,
        "columns": [column.name for column in served.contract.request],
        "threshold": served.deployment.current.threshold,
        "owners": owners,
        "deployment": decided,
        "pending": live.pending,
        "trained": {name: facts[name] for name in TRAINED if name in facts},
        "metrics": facts.get("metrics", {}),
        "features_as_of": timestamps.format_utc(table.as_of) if table else None,
        "counted": {"ignored_fields": dict(live.ignored), "fallback_rows": live.fallback_rows},
    }

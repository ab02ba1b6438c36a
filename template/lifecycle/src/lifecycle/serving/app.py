"""The FastAPI application: health, metrics, /info and the OpenAPI documentation, also that of /predict."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, HTTPException, Response, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel

from lifecycle import __version__, timestamps
from lifecycle.errors import LifecycleError
from lifecycle.serving import v2
from lifecycle.serving.deployed import DeploymentFollower
from lifecycle.serving.metrics import CONTENT_TYPE, PATH
from lifecycle.serving.predict import PredictionService
from lifecycle.settings import API_KEY, Log, Serve
from lifecycle.storage import Store

logger = logging.getLogger("lifecycle.serving")
KEY_SCHEMES = [Security(HTTPBearer(scheme_name="bearer", auto_error=False))]
KEY_SCHEMES += [Security(APIKeyHeader(scheme_name="key", name="X-API-Key", auto_error=False))]
SHORTEST_KEY = 16
KEY_HINT = f"Write one key a line, each of at least {SHORTEST_KEY} characters: `openssl rand -hex 32` makes one."
# Facts of the training that /info shows where the bundle contains them.
TRAINING_FACTS = ("created", "as_of", "estimator", "rows", "holdout", "code", "data")
STRING = {"schema": {"type": "string"}}
# The headers of every response to a prediction request, and to one without a valid key.
HEADERS = {
    "x-request-id": STRING | {"description": "The id of the request, or a new one."},
    "x-model-version": STRING | {"description": "The deployed version."},
    "x-contract-version": STRING | {"description": "The major version of its contract."},
}
WAIT = {"description": "Seconds to wait before the next attempt.", "schema": {"type": "integer", "minimum": 1}}
RETRY = {"headers": {"retry-after": WAIT | {"required": True}}}


class Fault(BaseModel):
    """A fault at one place of a request, without the value."""

    type: str
    loc: list[str | int]
    msg: str


class Faults(BaseModel):
    """The faults of a request, up to a limit."""

    detail: list[Fault]


class Problem(BaseModel):
    """The reason why there is no prediction."""

    detail: str


class Failure(Problem):
    """An internal error; the log contains the request id."""

    request_id: str


def _problem(description: str) -> dict[str, Any]:
    return {"model": Problem, "description": description}


ErrorResponses = dict[int | str, dict[str, Any]]
CHALLENGE = {"headers": HEADERS | {"www-authenticate": STRING | {"required": True}}}
UNAUTHORIZED: ErrorResponses = {401: _problem("The API key is missing or wrong.") | CHALLENGE}


def create(store: Store, environment: str, serve: Serve, log: Log | None = None) -> PredictionService:
    """Return the ASGI application of what is deployed; without `log`, no predictions are logged.

    Raises LifecycleError where nothing is deployed, the bundle does not load, or an API key is missing or invalid.
    """
    follower = DeploymentFollower(store, environment, serve.max_rows)
    service = PredictionService(follower, serve, log, api_keys(serve, environment))
    service.fastapi = _fastapi_app(service)
    return service


def api_keys(serve: Serve, environment: str) -> list[bytes]:
    """Return the accepted API keys: those of the variable LIFECYCLE_API_KEY, else those of serve.api_key_file.

    Raises LifecycleError where one is invalid, the file cannot be read, or production has none.
    """
    path, text = serve.api_key_file, os.environ.get(API_KEY)
    source = path if text is None else API_KEY
    try:
        text = path.read_text("utf-8") if path and text is None else text or ""
    except (OSError, UnicodeDecodeError):
        raise LifecycleError(f"{path} with the API keys cannot be read", KEY_HINT) from None
    keys = [line.strip() for line in text.splitlines() if line.strip()]
    if source and not keys:
        raise LifecycleError(f"{source} contains no API key", KEY_HINT)
    if not keys and environment == "production":
        hint = f"Set the variable {API_KEY}, or name a file with keys in the setting serve.api_key_file."
        raise LifecycleError("production without an API key would serve every caller", hint)
    for number, key in enumerate(keys, 1):
        if len(key) < SHORTEST_KEY or not all("!" <= letter <= "~" for letter in key):
            raise LifecycleError(f"API key {number} is too short or not printable ASCII", KEY_HINT)
    return [key.encode() for key in keys]


def log_unawaited(loop: Any, context: dict[str, Any]) -> None:
    """Log an exception that no code awaited; asyncio's own handler would print its message."""
    logger.error("%s", context["message"], exc_info=context.get("exception"))


def leave_before_stopping(service: PredictionService, seconds: float) -> None:
    """On SIGTERM serve for so many seconds more, not ready and closing connections; then do what uvicorn does."""
    # In that time load balancers stop sending requests, so that none is refused when the port closes.
    loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

    def leave(number: int, frame: Any) -> None:
        service.leaving = True
        if callable(stop):
            loop.call_soon_threadsafe(loop.call_later, seconds, stop, number, None)

    signal.signal(signal.SIGTERM, leave)


def _fastapi_app(service: PredictionService) -> FastAPI:
    follower, limits, prediction_log = service.follower, service.limits, service.prediction_log

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(log_unawaited)
        # A signal handler can be set in the main thread only; tests run the application in another one.
        if limits.leave_seconds and threading.current_thread() is threading.main_thread():
            leave_before_stopping(service, limits.leave_seconds)
        running = [follower.follow(limits.poll_seconds), service.cancel_slow_bodies()]
        running += [prediction_log.run(), prediction_log.upload()] if prediction_log else []
        tasks = [asyncio.create_task(each) for each in running]
        version, environment = follower.deployed.version, follower.environment
        logger.info("lifecycle %s serves %s in %s; documentation at /docs", __version__, version, environment)
        yield
        for task in tasks:
            task.cancel()
        if prediction_log:
            prediction_log.close()

    name = follower.deployed.predictor.bundle.facts.get("name", "model")
    # The validator badge of the documentation would be requested from the internet.
    page = {"validatorUrl": None}
    app: FastAPI = FastAPIOffline(title=name, redoc_url=None, lifespan=lifespan, swagger_ui_parameters=page)
    app.openapi = lambda: document(service, app)  # type: ignore[method-assign]
    keyed = APIRouter(dependencies=KEY_SCHEMES, responses=UNAUTHORIZED) if service.api_keys else APIRouter()

    @keyed.post(PATH, responses=errors(limits))
    async def predict(x_request_id: Annotated[str, Header()] = "") -> None:
        """Predict one row or a list of rows: send the key and the request fields; other columns are looked up."""
        raise AssertionError("PredictionService handles this route; it is declared for its documentation")

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Return 200 while the process runs."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: _problem("No features yet, or the service is stopping.") | RETRY})
    async def readyz() -> dict[str, str | bool]:
        """Return 200 when requests can be predicted; `pending`: a newer version cannot be loaded, see `/info`."""
        if problem := service.not_ready():
            raise HTTPException(503, problem, {"retry-after": "5"})
        return {"status": "ready", "version": follower.deployed.version, "pending": bool(follower.pending)}

    @keyed.get("/info")
    async def info() -> dict[str, Any]:
        """Return the deployed version, who deployed it when, and counts since this process started."""
        return _info(service)

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Return all metrics in the text format of Prometheus."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})

    app.include_router(keyed)
    app.include_router(v2.routes(follower, service.not_ready))
    return app


def _info(service: PredictionService) -> dict[str, Any]:
    model = service.follower.deployed
    facts, features = model.predictor.bundle.facts, model.features
    deployment = model.deployment.as_document()
    return {
        "name": facts.get("name"),
        "version": model.version,
        "kind": model.predictor.bundle.kind,
        "lifecycle": __version__,
        "contract_version": model.contract.version,
        "label": model.contract.target.label,
        "task": model.contract.target.task,
        "columns": [column.name for column in model.contract.request],
        "threshold": model.deployment.current.threshold,
        # A deployment of release 0.1.0 names no owners; its bundle may.
        "owners": deployment.pop("owners") or facts.get("owners", {}),
        "deployment": deployment,
        "pending": service.follower.pending,
        "trained": {name: facts[name] for name in TRAINING_FACTS if name in facts},
        "metrics": facts.get("metrics", {}),
        "features_as_of": timestamps.format_utc(features.as_of) if features else None,
        "counted": {"ignored_fields": dict(service.ignored_fields), "fallback_rows": service.fallback_rows},
    }


def errors(limits: Serve) -> ErrorResponses:
    """Return the error responses of /predict by status, apart from UNAUTHORIZED."""
    late, waiting = f"{limits.timeout_seconds:g} s", f"{limits.queue_rows} rows"
    busy = f"No features yet, too many requests at once, no prediction within {late}, or the service is stopping."
    return {
        404: {"model": Faults, "description": "There are no features for a key."},
        408: _problem(f"The body did not arrive within {late}; the connection is closed."),
        413: _problem(f"More than {limits.max_bytes} bytes or {limits.max_rows} rows."),
        415: _problem("The body is compressed."),
        422: {"model": Faults, "description": "A row breaks the contract."},
        429: _problem(f"More than {waiting} wait for a prediction.") | RETRY,
        500: {"model": Failure, "description": "The service failed; its log has details under the request id."},
        503: _problem(busy) | RETRY,
    }


def document(service: PredictionService, app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document: the schemas of /predict are those of the deployed contract."""
    model = service.follower.deployed
    whole: dict[str, Any] = get_openapi(title=app.title, version=model.version, routes=app.routes)
    row, target = model.contract.row_schema(model.contract.request), model.contract.target.to_schema()
    whole["components"]["schemas"] |= {"Row": row, "Target": target}
    operation = whole["paths"][PATH]["post"]
    operation["requestBody"] = {"required": True} | _one_or_many("Row", {"maxItems": service.limits.max_rows})
    operation["responses"]["200"] |= _one_or_many("Target", {})
    for response in operation["responses"].values():
        response["headers"] = HEADERS | response.get("headers", {})
    return whole


def _one_or_many(name: str, limit: dict[str, int]) -> dict[str, Any]:
    one = {"$ref": f"#/components/schemas/{name}"}
    return {"content": {"application/json": {"schema": {"anyOf": [one, {"type": "array", "items": one} | limit]}}}}

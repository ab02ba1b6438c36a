"""The OpenAPI document: the schemas of /predict are those of the deployed contract."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from lifecycle.contract.schema import Contract
from lifecycle.settings import Serve

PATH = "/predict"
# For orchestrators, Prometheus and readers of the documentation; all other paths require the API key.
OPEN = ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")
ASSETS = "/static-offline-docs/"
NAMED = {
    "x-request-id": {"description": "The id of the request, or a new one.", "schema": {"type": "string"}},
    "x-model-version": {"description": "The deployed version.", "schema": {"type": "string"}},
    "x-contract-version": {"description": "The major version of its contract.", "schema": {"type": "string"}},
}
RETRY = {
    "retry-after": {
        "description": "Seconds to wait before the next attempt.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
CHALLENGE = {"www-authenticate": {"required": True, "schema": {"type": "string"}}}
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


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
    """An internal error; the log of the service contains the request id."""

    request_id: str


NOT_READY = {"model": Problem, "description": "There are no features to look up yet.", "headers": RETRY}


def is_open(path: str) -> bool:
    """Return whether a path requires no API key."""
    return path in OPEN or path.startswith(ASSETS)


def errors(limits: Serve) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of /predict by status."""
    late, waiting = f"{limits.timeout_seconds:g} s", f"{limits.queue_rows} rows"
    busy = f"No features yet, too many requests at once, no prediction within {late}, or the service is stopping."
    return {
        404: {"model": Faults, "description": "There are no features for a key."},
        408: {"model": Problem, "description": f"The body did not arrive within {late}; the connection is closed."},
        413: {"model": Problem, "description": f"More than {limits.max_bytes} bytes or {limits.max_rows} rows."},
        422: {"model": Faults, "description": "A row breaks the contract."},
        429: {"model": Problem, "description": f"More than {waiting} wait for a prediction.", "headers": RETRY},
        500: {"model": Failure, "description": "The service failed; its log has details under the request id."},
        503: {"model": Problem, "description": busy, "headers": RETRY},
    }


def document(app: FastAPI, version: str, contract: Contract, limits: Serve, locked: bool) -> dict[str, Any]:
    """Return the document; `locked` says whether an API key is required."""
    whole = get_openapi(title=app.title, version=version, routes=app.routes)
    schemas = {"Row": contract.row_schema(contract.request), "Target": contract.target.to_schema()}
    whole["components"]["schemas"] |= schemas
    operation = whole["paths"][PATH]["post"]
    operation["requestBody"] = {"required": True} | _one_or_many("Row", {"maxItems": limits.max_rows})
    operation["responses"]["200"] |= _one_or_many("Target", {})
    if locked:
        _lock(whole)
    for response in operation["responses"].values():
        response["headers"] = NAMED | response.get("headers", {})
    return whole


def _lock(whole: dict[str, Any]) -> None:
    whole["components"]["securitySchemes"] = SCHEMES
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    refusal = {"description": "The API key is missing or wrong.", "content": {"application/json": problem}}
    for path, operations in whole["paths"].items():
        for operation in () if is_open(path) else operations.values():
            operation["security"] = [{name: []} for name in SCHEMES]
            operation["responses"]["401"] = refusal | {"headers": NAMED | CHALLENGE}


def _one_or_many(name: str, limit: dict[str, int]) -> dict[str, Any]:
    one = {"$ref": f"#/components/schemas/{name}"}
    return {"content": {"application/json": {"schema": {"anyOf": [one, {"type": "array", "items": one} | limit]}}}}

"""The OpenAPI document: the schemas of /predict are those of the deployed contract."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lifecycle.contract.schema import Contract
from lifecycle.settings import Serve

PATH = "/predict"
# For orchestrators, Prometheus and readers of the documentation; all other paths require the API key.
OPEN = ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")
ASSETS = "/static-offline-docs/"
TEXT = {"type": "string"}
NAMED = {
    "x-request-id": {"description": "The id of the request, or a new one.", "schema": TEXT},
    "x-model-version": {"description": "The deployed version.", "schema": TEXT},
    "x-contract-version": {"description": "The major version of its contract.", "schema": TEXT},
}
WAIT = {"description": "Seconds to wait before the next attempt.", "schema": {"type": "integer", "minimum": 1}}
RETRY = {"headers": {"retry-after": WAIT | {"required": True}}}
CHALLENGE = {"www-authenticate": {"required": True, "schema": TEXT}}
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def _object(description: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties, "required": [*properties]}


PLACE = {"type": "array", "items": {"type": ["string", "integer"]}}
FAULT = _object("A fault at one place of a request, without the value.", type=TEXT, loc=PLACE, msg=TEXT)
# The bodies of error responses.
BODIES = {
    "Faults": _object("The faults of a request, up to a limit.", detail={"type": "array", "items": FAULT}),
    "Problem": _object("The reason why there is no prediction.", detail=TEXT),
    "Failure": _object("An internal error; the log contains the request id.", detail=TEXT, request_id=TEXT),
}


def not_ready() -> dict[str, Any]:
    """Return the response of /readyz before there are features, or when the service is stopping."""
    return _response("Problem", "There are no features to look up yet, or the service is stopping.") | RETRY


def is_open(path: str) -> bool:
    """Return whether a path requires no API key."""
    return path in OPEN or path.startswith(ASSETS)


def errors(limits: Serve) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of /predict by status."""
    late, waiting = f"{limits.timeout_seconds:g} s", f"{limits.queue_rows} rows"
    busy = f"No features yet, too many requests at once, no prediction within {late}, or the service is stopping."
    return {
        404: _response("Faults", "There are no features for a key."),
        408: _response("Problem", f"The body did not arrive within {late}; the connection is closed."),
        413: _response("Problem", f"More than {limits.max_bytes} bytes or {limits.max_rows} rows."),
        422: _response("Faults", "A row breaks the contract."),
        429: _response("Problem", f"More than {waiting} wait for a prediction.") | RETRY,
        500: _response("Failure", "The service failed; its log has details under the request id."),
        503: _response("Problem", busy) | RETRY,
    }


def document(app: FastAPI, version: str, contract: Contract, limits: Serve, locked: bool) -> dict[str, Any]:
    """Return the document; `locked` says whether an API key is required."""
    whole = get_openapi(title=app.title, version=version, routes=app.routes)
    schemas = {"Row": contract.row_schema(contract.request), "Target": contract.target.to_schema()}
    whole["components"] = {"schemas": BODIES | schemas}
    operation = whole["paths"][PATH]["post"]
    operation["requestBody"] = {"required": True} | _one_or_many("Row", {"maxItems": limits.max_rows})
    operation["responses"]["200"] |= _one_or_many("Target", {})
    if locked:
        whole["components"]["securitySchemes"] = SCHEMES
        refusal = _response("Problem", "The API key is missing or wrong.") | {"headers": NAMED | CHALLENGE}
        for one in [one for path, each in whole["paths"].items() if not is_open(path) for one in each.values()]:
            one["security"] = [{name: []} for name in SCHEMES]
            one["responses"]["401"] = refusal
    for response in operation["responses"].values():
        response["headers"] = NAMED | response.get("headers", {})
    return whole


def _response(name: str, description: str) -> dict[str, Any]:
    return {"description": description} | _json({"$ref": f"#/components/schemas/{name}"})


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _one_or_many(name: str, limit: dict[str, int]) -> dict[str, Any]:
    one = {"$ref": f"#/components/schemas/{name}"}
    return _json({"anyOf": [one, {"type": "array", "items": one} | limit]})

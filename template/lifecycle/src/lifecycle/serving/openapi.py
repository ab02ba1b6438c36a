"""The OpenAPI: of /predict, the schemas are those of the contract that answers at this moment."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from lifecycle.contract import Contract
from lifecycle.settings import Serve

PATH = "/predict"
HEADERS = {
    "x-request-id": {"description": "That of the request, or a new one.", "schema": {"type": "string"}},
    "x-model-version": {"description": "The version that answers.", "schema": {"type": "string"}},
    "x-contract-version": {"description": "The major version of its contract.", "schema": {"type": "string"}},
}


class Fault(BaseModel):
    """What is wrong at one place of a request; the value itself is never told."""

    type: str
    loc: list[str | int]
    msg: str


class Faults(BaseModel):
    """All that is wrong with a request, up to a limit."""

    detail: list[Fault]


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


def errors(limits: Serve) -> dict[int | str, dict[str, Any]]:
    """What /predict answers when it has no prediction."""
    return {
        404: {"model": Faults, "description": "There are no features for a key."},
        413: {"model": Problem, "description": f"More than {limits.max_bytes} bytes or {limits.max_rows} rows."},
        422: {"model": Faults, "description": "A row breaks the contract."},
        500: {"model": Problem, "description": "The service failed; its log tells more under the request id."},
        503: {"model": Problem, "description": "There are no features to look up yet, or the service is ending."},
    }


def document(app: FastAPI, version: str, contract: Contract, limits: Serve) -> dict[str, Any]:
    """The whole document."""
    whole = get_openapi(title=app.title, version=version, routes=app.routes)
    schemas = {"Row": contract.row_schema(contract.request), "Answer": contract.answer.to_schema()}
    whole["components"]["schemas"] |= schemas
    operation = whole["paths"][PATH]["post"]
    operation["requestBody"] = {"required": True} | _one_or_many("Row", {"maxItems": limits.max_rows})
    operation["responses"]["200"] |= _one_or_many("Answer", {})
    for response in operation["responses"].values():
        response["headers"] = HEADERS
    return whole


def _one_or_many(name: str, limit: dict[str, int]) -> dict[str, Any]:
    one = {"$ref": f"#/components/schemas/{name}"}
    return {"content": {"application/json": {"schema": {"anyOf": [one, {"type": "array", "items": one} | limit]}}}}

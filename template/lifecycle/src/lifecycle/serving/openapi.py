"""The OpenAPI of /predict, from the contract that answers now."""

from typing import Any

from lifecycle.contract import Contract
from lifecycle.settings import Serve

Document = dict[str, Any]

FAULTS: Document = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "loc", "msg"],
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "msg": {"type": "string"},
                },
            },
        }
    },
}
PROBLEM: Document = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
REQUEST_ID: Document = {
    "name": "x-request-id",
    "in": "header",
    "description": "Comes back with the answer; without one (1 to 128 visible ASCII characters) it is made.",
    "schema": {"type": "string"},
}
HEADERS: Document = {
    "x-request-id": {"description": "That of the request, or a new one.", "schema": {"type": "string"}},
    "x-model-version": {"description": "The version that answered.", "schema": {"type": "string"}},
}


def components(contract: Contract) -> Document:
    """The schemas that the operation refers to."""
    return {
        "Row": contract.row_schema(contract.request),
        "Answer": contract.answer.to_schema(),
        "Faults": FAULTS,
        "Problem": PROBLEM,
    }


def predict(limits: Serve) -> Document:
    """The operation POST /predict."""
    row, found, faults, problem = (_ref(name) for name in ("Row", "Answer", "Faults", "Problem"))
    retry = {"retry-after": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return {
        "summary": "Answer one row or many",
        "description": "The caller sends the key and the request fields; what is known of the entity is looked up.",
        "operationId": "predict",
        "parameters": [REQUEST_ID],
        "requestBody": {"required": True, **_content(_one_or_many(row, limits.max_rows))},
        "responses": {
            "200": _response("An answer, or a list of answers in the order of the rows.", _one_or_many(found)),
            "404": _response("There are no features for a key.", faults),
            "413": _response(f"More than {limits.max_bytes} bytes or {limits.max_rows} rows.", problem),
            "422": _response("A row breaks the contract; no value is echoed.", faults),
            "500": _response("The service failed; its log tells more under the request id.", problem),
            "503": _response("There are no features to look up yet.", problem, retry),
        },
    }


def _one_or_many(schema: Document, most: int | None = None) -> Document:
    limit = {} if most is None else {"maxItems": most}
    return {"anyOf": [schema, {"type": "array", "items": schema} | limit]}


def _response(description: str, schema: Document, headers: Document | None = None) -> Document:
    return {"description": description, "headers": HEADERS | (headers or {}), **_content(schema)}


def _content(schema: Document) -> Document:
    return {"content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}

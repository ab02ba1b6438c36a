"""The Open Inference Protocol, version 2 (github.com/kserve/open-inference-protocol): one tensor for each column.

A request becomes the rows of a /predict request, with the same validation, log, metrics and limits, and its predictions
become tensors. Tensors of a request may follow the JSON as bytes (Triton's extension); responses are JSON.
"""

import contextlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.routing import Match

from lifecycle import __version__
from lifecycle.contract.rows import MAX_NAME, Row, RowError, TooManyRows
from lifecycle.contract.schema import Column, Target
from lifecycle.serving.deployed import DeployedModel, DeploymentFollower
from lifecycle.serving.metrics import METHODS

PREFIX, OPEN = "/v2", ("/v2/health/live", "/v2/health/ready")
INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
# The header of Triton's extension: how many bytes at the start of the body are JSON.
JSON_BYTES = b"inference-header-content-length"
FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
NUMBERS = FLOATS | {f"{kind}{8 * n}": f"<{kind[0].lower()}{n}" for kind in ("INT", "UINT") for n in (1, 2, 4, 8)}
NUMPY = NUMBERS | {"BOOL": "?"}
# By the kind of a column: the datatype in the metadata, and those that a request may have.
DATATYPES = {"number": ("FP64", NUMBERS), "integer": ("INT64", NUMBERS), "boolean": ("BOOL", NUMPY)}
DATATYPES |= dict.fromkeys(("category", "time"), ("BYTES", {"BYTES": ""}))


class Tensor(BaseModel):
    """An input tensor: the values of one column, shape (rows,) or (rows, 1)."""

    name: str = Field(max_length=MAX_NAME)
    shape: list[int]
    datatype: str
    data: list[Any] = []
    parameters: dict[str, Any] = {}


class Request(BaseModel):
    """An inference request; its parameter `null` is the text that stands for null in BYTES tensors."""

    model_config = ConfigDict(strict=True)
    id: str = ""
    inputs: list[Tensor] = Field(min_length=1)
    outputs: list[dict[str, Any]] = []
    parameters: dict[str, Any] = {}


class Inference:
    """One request for inference with the deployed model."""

    def __init__(self, model: DeployedModel, json_bytes: bytes | None) -> None:
        self.model, self.json_bytes = model, json_bytes
        self.request = Request.model_construct()

    def read(self, body: bytes, max_rows: int) -> bytes:
        """Return the rows of a body as JSON; raises TooManyRows, or RowError without any value."""
        size = len(body) if self.json_bytes is None else int(self.json_bytes[:9]) if self.json_bytes.isdigit() else -1
        if not 0 <= size <= len(body):
            raise _invalid(f"{JSON_BYTES.decode()} is not a number of bytes of the body")
        try:
            self.request = Request.model_validate_json(body[:size])
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise _invalid(f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}") from None
        known = {column.name: column for column in self.model.contract.request}
        columns: dict[str, list[Any]] = {}
        for tensor in self.request.inputs:
            if "binary_data_size" in tensor.parameters:
                length = tensor.parameters["binary_data_size"]
                if type(length) is not int or not 0 <= length <= len(body) - size:
                    raise _invalid(f"tensor {tensor.name!r} has a binary_data_size that the body does not have")
                tensor.data = _from_bytes(tensor, body[size : size + length])
                size += length
            columns[tensor.name] = _values(tensor, known.get(tensor.name), self.request.parameters.get("null"))
        if size != len(body):
            raise _invalid("the body has more bytes than its tensors")
        if len(columns) < len(self.request.inputs) or len({len(values) for values in columns.values()}) > 1:
            raise _invalid("a tensor occurs twice, or tensors have different numbers of rows")
        if len(next(iter(columns.values()))) > max_rows:
            raise TooManyRows
        outputs = [each["name"] for each in _outputs(self.model.contract.target)]
        if any(each.get("name") not in outputs for each in self.request.outputs):
            raise _invalid(f"an output is requested that does not exist; there are {', '.join(outputs)}")
        return to_json([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])

    def write(self, predictions: Sequence[Row]) -> bytes:
        """Return the response: each requested output, or all, as JSON."""
        requested, rows, made = [each["name"] for each in self.request.outputs], len(predictions), []
        for output in _outputs(self.model.contract.target):
            if not requested or output["name"] in requested:
                data = [each[output["name"]] for each in predictions]
                data = [value for each in data for value in each.values()] if len(output["shape"]) > 1 else data
                made.append(output | {"shape": [rows, *output["shape"][1:]], "data": data})
        return to_json(_identity(self.model, "model_name", "model_version") | {"id": self.request.id, "outputs": made})


def inference(path: str, headers: dict[bytes, bytes], model: DeployedModel) -> Inference | None:
    """Return the inference that a POST to a path requests, or None for any other path."""
    found = INFER.fullmatch(path) if path.startswith(PREFIX) else None
    return Inference(model, headers.get(JSON_BYTES)) if found and _is_deployed(model, *found.groups()) else None


def problem(status: int, detail: Any) -> tuple[int, bytes]:
    """Return status and body of an error of this protocol for one of /predict."""
    faults = [detail] if isinstance(detail, str) else [_described(fault) for fault in detail[:10]]
    return 400 if status == 422 else status, to_json({"error": "; ".join(faults)})


def routes(follower: DeploymentFollower, not_ready: Callable[[], str]) -> APIRouter:
    """Return the routes for health and metadata, and that of all others; `not_ready()` is a reason, or empty."""
    # Clients have the protocol's own OpenAPI document.
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    def unknown() -> JSONResponse:
        deployed = "{name}, version {version}".format(**_identity(follower.deployed))
        return JSONResponse({"error": f"not found; the deployed model is {deployed}"}, 404)

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        return JSONResponse({"error": text}, 503) if (text := not_ready()) else JSONResponse({"ready": True})

    @router.get("")
    async def server() -> dict[str, Any]:
        return {"name": "looseleaf", "version": __version__, "extensions": []}

    @router.get("/models/{name}/ready")
    @router.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> JSONResponse:
        return await ready() if _is_deployed(follower.deployed, name, version) else unknown()

    @router.get("/models/{name}")
    @router.get("/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> JSONResponse:
        model = follower.deployed
        return JSONResponse(_metadata(model)) if _is_deployed(model, name, version) else unknown()

    @router.api_route("", methods=sorted(METHODS))
    @router.api_route("/{rest:path}", methods=sorted(METHODS))
    async def other(request: HTTPRequest) -> JSONResponse:
        # The routes above are for GET; an inference is handled before any route.
        is_read = any(route.matches(request.scope)[0] is Match.PARTIAL for route in router.routes)
        allowed = "POST" if INFER.fullmatch(request.url.path) else "GET" if is_read else request.method
        if request.method != allowed:
            return JSONResponse({"error": f"the method of this path is {allowed}"}, 405, {"allow": allowed})
        return unknown()

    return router


def _identity(model: DeployedModel, name: str = "name", version: str = "version") -> dict[str, Any]:
    return {name: model.predictor.bundle.facts.get("name", "model"), version: model.version}


def _is_deployed(model: DeployedModel, name: str, version: str | None) -> bool:
    return _identity(model) == {"name": name, "version": version or model.version}


def _metadata(model: DeployedModel) -> dict[str, Any]:
    name, kind, inputs = _identity(model)["name"], model.predictor.bundle.kind, []
    for column in model.contract.request:
        parameters = {"required": column.required, "nullable": column.nullable, "unit": column.unit}
        made = {"name": column.name, "datatype": DATATYPES[column.kind][0], "shape": [-1], "parameters": parameters}
        inputs.append(made)
    own = {"name": name, "versions": [model.version], "platform": f"looseleaf_{kind}"}
    return own | {"inputs": inputs, "outputs": _outputs(model.contract.target)}


def _outputs(target: Target) -> list[dict[str, Any]]:
    """Return the output tensors without data; their first dimension, of the rows, is -1."""
    tensors: list[dict[str, Any]] = [
        {"name": "prediction", "datatype": "BYTES" if target.classes else "FP64", "shape": [-1]}
    ]
    if target.task == "binary":
        tensors.append({"name": "probability", "datatype": "FP64", "shape": [-1]})
    if target.task == "multiclass":
        # A parameter is a text, a number or a boolean.
        made = {"classes": json.dumps(target.classes, ensure_ascii=False)}
        shape = [-1, len(target.classes)]
        tensors.append({"name": "probabilities", "datatype": "FP64", "shape": shape, "parameters": made})
    return tensors


def _values(tensor: Tensor, column: Column | None, null: Any) -> list[Any]:
    """Return the values of a tensor, null as None. The row reader validates them, and refuses an unknown column."""
    usual, accepted = DATATYPES[column.kind] if column else (tensor.datatype, [tensor.datatype])
    if tensor.datatype not in accepted:
        raise _invalid(f"tensor {tensor.name!r} has another datatype than {usual}")
    values = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in tensor.data]
    if tensor.shape not in ([len(values)], [len(values), 1]):
        raise _invalid(f"tensor {tensor.name!r} has data for {len(values)} rows and another shape")
    if tensor.datatype in FLOATS:
        # NaN is the null of arrays of floats.
        values = [None if value != value else value for value in values]
    if column and column.kind == "boolean" and tensor.datatype in NUMBERS:
        values = [bool(value) if value in (0, 1) else value for value in values]
    return [None if value == null else value for value in values] if tensor.datatype == "BYTES" else values


def _from_bytes(tensor: Tensor, content: bytes) -> list[Any]:
    texts, at = [], 0
    with contextlib.suppress(KeyError, ValueError):
        if tensor.datatype != "BYTES":
            return list(np.frombuffer(content, NUMPY[tensor.datatype]).tolist())
        while at < len(content):
            # Each text follows its length.
            start, at = at + 4, at + 4 + int.from_bytes(content[at : at + 4], "little")
            texts.append(content[start:at].decode())
        if at == len(content):
            return texts
    raise _invalid(f"the bytes of tensor {tensor.name!r} are not those of its datatype")


def _invalid(text: str) -> RowError:
    return RowError([{"type": "tensor", "loc": ["body"], "msg": text}])


def _described(fault: dict[str, Any]) -> str:
    place = [f"tensor {each!r}" if isinstance(each, str) else f"row {each}" for each in fault["loc"][1:]]
    return ": ".join(filter(None, [", ".join(reversed(place)), fault["msg"]]))

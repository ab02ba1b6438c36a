"""Base classes of the row and the prediction, and the types whose JSON differs from Python."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class BaseRow(BaseModel):
    """A row; fields have Python names, and the names of the contract are accepted too."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )


class BasePrediction(BaseModel):
    """A prediction, with the version of the model and the id of the request in the logs of the service."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model_version: str = ""
    request_id: str = ""


def _whole(value: Any) -> Any:
    # JSON and data frames write a whole number also as 3.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _utc(value: Any) -> Any:
    try:
        is_text = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value)
        found = datetime.fromisoformat(value) if is_text else value
        # Some zones before 1972 have seconds in their offset, which JSON cannot express.
        return found.astimezone(UTC) if isinstance(found, datetime) and found.tzinfo else found
    except (ValueError, OverflowError):
        return value


WholeNumber = Annotated[int, BeforeValidator(_whole)]
Timestamp = Annotated[datetime, BeforeValidator(_utc)]

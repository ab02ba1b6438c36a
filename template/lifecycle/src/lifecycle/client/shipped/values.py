"""What rows and answers have in common; `contract.py` beside it has their fields."""

import re
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

DATE = re.compile(r"\d{4}-\d\d-\d\d")


class BaseRow(BaseModel):
    """A row takes what the service takes, under Python names or those of the wire, and tells no value in an error."""

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


class BaseAnswer(BaseModel):
    """An answer, which version of the model gave it, and to which request (the id in the service's logs)."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model_version: str = ""
    request_id: str = ""


def _whole(value: Any) -> Any:
    # JSON and data frames write a whole number as 3.0, too.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _moment(value: Any) -> Any:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) and DATE.match(value) else value
        # JSON has no seconds in an offset; some zones of before 1972 have.
        return found.astimezone(UTC) if isinstance(found, datetime) and found.tzinfo else found
    except (ValueError, OverflowError):
        return value


WHOLE = BeforeValidator(_whole)
MOMENT = BeforeValidator(_moment)

"""Write template/lifecycle/docs/settings.md, the page of all settings, from their definitions: `make manifest`."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lifecycle.settings import API_KEY, PREFIX, Settings
from support.rendering import TEMPLATE

PAGE = TEMPLATE / "lifecycle/docs/settings.md"
HEAD = f"""# Settings

Every setting, with its default. `config/base.yaml` and then `config/<environment>.yaml` override the defaults, and
environment variables override both. A name that does not exist is an error. `make config ENVIRONMENT=…` prints each
value and its origin. `{API_KEY}` is a secret, and therefore not a setting.
"""


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting of a section with its dotted name, those of the sections within it, too."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from rows(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def page() -> str:
    """Return the page."""
    lines = [HEAD, "| setting | default | limits | meaning |", "|---|---|---|---|"]
    # `bucket` is derived from `storage`.
    for name, field in ((name, field) for name, field in rows(Settings) if name != "bucket"):
        variable = f"{PREFIX}{name.upper().replace('.', '__')}"
        lines.append(
            f"| `{name}`<br>`{variable}` | `{_text(field.default)}` | {_limits(field)} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    return str(value) if str(value) else '""'


def _limits(field: FieldInfo) -> str:
    texts = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(each, key):g}" for each in field.metadata for key, sign in texts.items() if hasattr(each, key)
    ]
    choices = re.findall(r"'(\w+)'", str(field.annotation)) if "Literal" in str(field.annotation) else []
    return ", ".join(found + choices) or "any"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

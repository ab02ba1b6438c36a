"""Python names for columns, which may be called anything."""

import keyword
import re
import unicodedata
from collections.abc import Iterable

from pydantic import BaseModel

# A field of that name would hide what the lines around it need.
TYPES = ("bool", "datetime", "float", "int", "str")
TAKEN = {*dir(BaseModel), "model_config", *keyword.kwlist, *keyword.softkwlist, *TYPES}


def safe(names: Iterable[str]) -> dict[str, str]:
    """A Python name for each column, in lower case with underscores; colliding ones get a number.

    None is the name of another column: a caller who writes it means that one.
    """
    found: dict[str, str] = {}
    columns = list(names)
    used: set[str] = set()
    for at, name in enumerate(columns, 1):
        chosen = base = identifier(name) or f"column_{at}"
        number = 2
        while chosen in used or (chosen != name and chosen in columns):
            chosen, number = f"{base}_{number}", number + 1
        used.add(chosen)
        found[name] = chosen
    return found


def identifier(name: str) -> str:
    """`Total Charges (€)` → `total_charges`; empty where no letter or digit is left."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    plain = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    if plain[:1].isdigit():
        plain = f"c_{plain}"
    return f"{plain}_" if plain in TAKEN or plain.startswith("model_") else plain

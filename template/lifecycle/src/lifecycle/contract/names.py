"""Python names for columns, whose own names may be any text."""

import keyword
import re
import unicodedata
from collections.abc import Iterable

from pydantic import BaseModel

# The types are in use around a generated field; a field of that name would shadow them.
TYPES = ("bool", "datetime", "float", "int", "str")
TAKEN = {*dir(BaseModel), "model_config", *keyword.kwlist, *keyword.softkwlist, *TYPES}


def python_names(names: Iterable[str]) -> dict[str, str]:
    """Return column name → Python name in snake case; colliding names get a number.

    No Python name is the name of another column, because a caller who writes it means that column.
    """
    found: dict[str, str] = {}
    columns = list(names)
    used: set[str] = set()
    for at, name in enumerate(columns, 1):
        chosen = base = python_name(name) or f"column_{at}"
        number = 2
        while chosen in used or (chosen != name and chosen in columns):
            chosen, number = f"{base}_{number}", number + 1
        used.add(chosen)
        found[name] = chosen
    return found


def python_name(name: str) -> str:
    """Return a text in snake case, `Total Charges (€)` as `total_charges`; empty where no letter or digit is left."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    plain = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    if plain[:1].isdigit():
        plain = f"c_{plain}"
    return f"{plain}_" if plain in TAKEN or plain.startswith("model_") else plain

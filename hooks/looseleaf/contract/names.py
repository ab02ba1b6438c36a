"""Names on the wire that nothing else claims, and Python names for them."""

import keyword
import re
import unicodedata
from collections.abc import Iterable

from pydantic import BaseModel

from lifecycle.declare import RESERVED

PREFIXES = ("lifecycle_", "probabilities_")
TAKEN = {*dir(BaseModel), "model_config", *keyword.kwlist, *keyword.softkwlist}
SUFFIX = "_value"


def wire(names: Iterable[str]) -> dict[str, str]:
    """The name of each column in requests and tables: its own, unless lifecycle uses that itself."""
    names = list(names)
    taken = {name.casefold() for name in names}
    found = {}
    for name in names:
        chosen = name
        while (
            chosen.lower() in RESERVED
            or chosen.lower().startswith(PREFIXES)
            or (chosen != name and chosen.casefold() in taken)
        ):
            chosen = f"column_{chosen}" if chosen.lower().startswith(PREFIXES) else f"{chosen}{SUFFIX}"
        taken.add(chosen.casefold())
        found[name] = chosen
    return found


def safe(names: Iterable[str]) -> dict[str, str]:
    """A Python name for each column, in lower case with underscores; colliding ones get a number."""
    found: dict[str, str] = {}
    used: set[str] = set()
    for at, name in enumerate(names, 1):
        chosen = base = identifier(name) or f"column_{at}"
        number = 2
        while chosen in used:
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

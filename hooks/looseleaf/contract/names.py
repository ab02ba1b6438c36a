"""Column names in requests and tables that do not collide with reserved ones."""

from collections.abc import Iterable

from lifecycle.contract.declare import RESERVED

PREFIXES = ("lifecycle_", "probabilities_")
SUFFIX = "_value"


def wire_names(names: Iterable[str]) -> dict[str, str]:
    """Return the name of each column in requests and tables: its own, unless the runtime reserves it."""
    names = list(names)
    taken = {name.casefold() for name in names}
    chosen = {}
    for name in names:
        candidate = name
        while (
            candidate.lower() in RESERVED
            or candidate.lower().startswith(PREFIXES)
            or (candidate != name and candidate.casefold() in taken)
        ):
            is_prefixed = candidate.lower().startswith(PREFIXES)
            candidate = f"column_{candidate}" if is_prefixed else f"{candidate}{SUFFIX}"
        taken.add(candidate.casefold())
        chosen[name] = candidate
    return chosen

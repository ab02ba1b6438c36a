"""Names on the wire that nothing else claims."""

from collections.abc import Iterable

from lifecycle.contract.declare import RESERVED

PREFIXES = ("lifecycle_", "probabilities_")
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

"""What the programs of this folder share: report an error, and find an installed program."""

import shutil
import sys
from collections.abc import Callable, Iterable

from lifecycle.errors import LifecycleError, complete_commands


def run(work: Callable[[], int | None], environment: str = "local") -> int:
    """Return what `work` returns, or 0; print a LifecycleError, with commands for the environment, and return 1."""
    try:
        return work() or 0
    except LifecycleError as error:
        print(f"error: {complete_commands(str(error), environment)}", file=sys.stderr)
        return 1


def first_installed(
    names: Iterable[str], problem: str, hint: str, is_installed: Callable[[str], object] = shutil.which
) -> str:
    """Return the first of some programs that is installed; LifecycleError with the problem where none is."""
    found = next(filter(is_installed, names), None)
    if found is None:
        raise LifecycleError(problem, hint)
    return found

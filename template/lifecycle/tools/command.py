"""What the programs of this folder share: report an error, and find an installed program."""

import shutil
import sys
from collections.abc import Callable, Iterable

from lifecycle.errors import LifecycleError, complete_commands

# The programs that build and run images, in the order in which they are looked for.
ENGINES = ("docker", "podman", "buildah")


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


def container_engine(selected: str | None, hint: str) -> str:
    """Return the selected container engine, or the first that is installed; LifecycleError where it is not."""
    problem = f"{selected or 'a container engine'} is not installed here"
    return first_installed([selected] if selected else ENGINES, problem, hint)

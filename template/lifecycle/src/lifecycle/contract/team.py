"""The one place that reaches the team's code: what `src/model` must hold, and how it is loaded.

This protocol is a public interface: new members are optional.
"""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from lifecycle.contract.declare import derive
from lifecycle.contract.matrix import Inputs
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.renamed import warn_renamed

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# The distribution of a new repository is `<model_name>-model`, so that no model name collides with a dependency.
SUFFIX = "-model"


class Data(Protocol):
    """`model.data`: where tables and labels come from. Times are whole seconds since 1970 UTC, in columns `ts`.

    Optional: `latest(connection) -> int`, the moment that stands for now; without it the clock does.
    """

    def tables(self, connection: "duckdb.DuckDBPyConnection", folder: Path) -> None:
        """Register every table that `features.sql` and the queries below read."""

    def labels(self, connection: "duckdb.DuckDBPyConnection") -> str:
        """SQL: one row for each past question, with key, request fields and label; `ts` says when it was asked.

        A column `seen_ts` says when the label became known; younger rows are left out of training.
        """

    def population(self, connection: "duckdb.DuckDBPyConnection") -> str:
        """SQL: who is asked about at the one `ts` of the table `as_of`, with key and request fields."""


class Estimator(Protocol):
    """`model.estimator`: what is fitted, and what it must beat.

    `candidate` returns a scikit-learn estimator over the matrix, or a `PythonModel` over frames.
    """

    def candidate(self, inputs: Inputs, seed: int) -> Any:
        """The estimator to train."""

    def baselines(self, inputs: Inputs, seed: int) -> dict[str, Any]:
        """Two scikit-learn estimators: `trivial` and `linear`."""


class PythonModel(Protocol):
    """A model that is not a scikit-learn estimator; its files hold no pickle.

    Its class is better defined in a module of its own: what that module imports must be installed where it serves,
    and there only the team's own dependencies are (`uv add pandas`, and whatever else it needs).

    `predict` takes a frame as the contract has it and answers, for each row: the probability of the positive class,
    the probabilities of all classes, or the number.
    """

    def fit(self, frame: "pd.DataFrame", label: Any) -> Any:
        """Learn from rows and labels (class codes, or numbers)."""

    def save(self, directory: Path) -> None:
        """Write all that `load` needs."""

    @classmethod
    def load(cls, directory: Path) -> "PythonModel":
        """Read what `save` wrote."""

    def predict(self, frame: "pd.DataFrame") -> Any:
        """Target each row."""


@dataclass(frozen=True)
class Team:
    """The team's code, loaded."""

    name: str
    contract: Contract
    features_sql: str | None
    data: Any
    estimator: Any


def load(root: Path) -> Team:
    """The team's `model` package in the repository at `root`; raises LifecycleError naming what it lacks."""
    contract, features_sql = load_contract()
    return Team(project_name(root), contract, features_sql, load_data(), _module("estimator", "candidate", "baselines"))


def load_contract() -> tuple[Contract, str | None]:
    """What `contract.py` declares, and the text of `features.sql` where there is one."""
    declared = _module("contract", "ROW", "VERSION")
    contract = derive(declared.ROW, _target(declared), declared.VERSION)
    sql = Path(str(declared.__file__)).with_name("features.sql")
    features_sql = sql.read_text(encoding="utf-8") if sql.exists() else None
    if contract.lookups and features_sql is None:
        names = ", ".join(column.name for column in contract.lookups)
        problem = f"{sql} is missing, and the contract has Lookup() fields ({names})"
        raise LifecycleError(problem, "Write it, or declare the fields as Request().")
    if features_sql is not None and not contract.lookups:
        raise LifecycleError(f"{sql} computes columns, and the contract has no Lookup() field", f"Delete {sql}.")
    return contract, features_sql


def _target(declared: ModuleType) -> Any:
    if hasattr(declared, "TARGET"):
        return declared.TARGET
    if hasattr(declared, "ANSWER"):
        warn_renamed("ANSWER in src/model/contract.py", "TARGET")
        return declared.ANSWER
    raise LifecycleError("src/model/contract.py does not define TARGET", "Write TARGET = Binary(label=…, …).")


def load_data() -> Data:
    """`model.data`: all that jobs need which do not train."""
    data: Data = _module("data", "tables", "labels", "population")
    return data


def project_name(root: Path) -> str:
    """Return the model's name: the name of the distribution in `pyproject.toml`, without `-model`."""
    try:
        name = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
        return str(name).removesuffix(SUFFIX)
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        problem = f"{root / 'pyproject.toml'} does not name the project ({error})"
        raise LifecycleError(problem, "Run this in the root of the repository.") from error


def python_class(path: str) -> Any:
    """The class that a `python` bundle names as `module:Class`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


# What pandas imports where it happens to be installed is not needed to serve: only the team's own imports count.
IMPORTS = """
import builtins, importlib, sys
module, usual, found = sys.argv[1], builtins.__import__, set()
def watched(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and (globals or {}).get("__name__", "").partition(".")[0] == module.partition(".")[0]:
        found.add(name.partition(".")[0])
    return usual(name, globals, locals, fromlist, level)
builtins.__import__ = watched
importlib.import_module(module)
print(*found)
"""


def requirements(module: str, project: str) -> set[str]:
    """What serving a class of `module` takes: the team's distribution, those it declares, and those its code imports.

    Found by importing the module in a fresh process; raises LifecycleError when that fails.
    """
    there = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", IMPORTS, module], env=there, capture_output=True, text=True)
    if done.returncode:
        problem = (
            f"{module} cannot be imported on its own: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
        )
        raise LifecycleError(problem, "Define the model's class in a module of src/model/.")
    distribution = _distribution(project)
    known = metadata.packages_distributions()
    imported = {name for top in done.stdout.split() for name in known.get(top, ())}
    lines = [line for line in metadata.requires(distribution) or [] if "extra ==" not in line]
    declared = {_canonical(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in lines}
    # A requirement of another platform is not installed here.
    installed = {each.name for each in metadata.distributions() if _canonical(each.name) in declared}
    return {distribution, *imported, *installed}


def _distribution(project: str) -> str:
    """Return the name under which the team's code is installed. Repositories of 0.1.0 and 0.2.0 have no suffix."""
    try:
        return metadata.distribution(f"{project}{SUFFIX}").name
    except metadata.PackageNotFoundError:
        return project


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _module(name: str, *members: str) -> ModuleType:
    try:
        found = importlib.import_module(f"model.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("model", f"model.{name}"):
            raise LifecycleError(
                f"src/model/{name}.py imports {error.name}, which is not installed", f"uv add {error.name}"
            ) from error
        problem = f"src/model/{name}.py cannot be found"
        raise LifecycleError(problem, "Run this in the repository, after make setup.") from error
    except (SyntaxError, NameError, AttributeError, TypeError, ValueError, ImportError) as error:
        problem = f"src/model/{name}.py does not import: {type(error).__name__}: {error}"
        raise LifecycleError(problem, f"`python -c 'import model.{name}'` in .venv shows the line.") from error
    missing = [member for member in members if not hasattr(found, member)]
    if missing:
        problem = f"src/model/{name}.py does not define {', '.join(missing)}"
        raise LifecycleError(problem, "lifecycle/src/lifecycle/contract/team.py says what it must hold.")
    return found

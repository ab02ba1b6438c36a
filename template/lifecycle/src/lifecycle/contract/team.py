"""The only module that imports the team's code: what `src/model` must contain, and how it is loaded."""

import importlib
import pkgutil
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from lifecycle import warn_renamed
from lifecycle.contract.declare import derive
from lifecycle.contract.rows import Inputs
from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import Connection, Frame
from lifecycle.errors import LifecycleError

# The distribution of a new repository is `<model_name>-model`, so that no model name collides with a dependency.
PACKAGE, SUFFIX = "model", "-model"
# Where the queries are from, for messages, and their columns that are times.
DATA, LABELS = "src/model/data.py", "src/model/data.py: labels()"
TIMES = {"ts", "seen_ts"}
# Parameters of estimators that state the loss and the quantile, and attributes that contain the wrapped estimator.
LOSSES, LEVELS = ("loss", "objective", "loss_function", "criterion"), ("quantile", "quantile_alpha", "alpha")
WRAPPED = ("final_estimator", "regressor", "estimator")


# The protocols are a public interface: a new member is always optional.
class Data(Protocol):
    """`model.data`: where tables and labels come from. Times are whole seconds since 1970 UTC, in columns `ts`.

    Optional: `latest(connection) -> int`, the time that jobs use as now instead of the system clock, and
    `spark_tables(session, folder)`, which registers the tables as views where `engine.kind` is `spark`.
    """

    def tables(self, connection: Connection, folder: Path) -> None:
        """Register every table that `features.sql` and the queries below read."""

    def labels(self, connection: Connection) -> str:
        """Return SQL with one row per past request: key, request fields, label, and its time `ts`.

        A column `seen_ts` states when the label became known; rows that were not known yet are not trained on.
        """

    def population(self, connection: Connection) -> str:
        """Return SQL with the keys and request fields to predict for at the one `ts` of the table `as_of`."""


class Estimator(Protocol):
    """`model.estimator`: what is fitted, and the baselines it must beat."""

    def candidate(self, inputs: Inputs, seed: int) -> Any:
        """Return the unfitted model: a scikit-learn estimator over the matrix, or a `PythonModel` over frames."""

    def baselines(self, inputs: Inputs, seed: int) -> dict[str, Any]:
        """Return two unfitted scikit-learn estimators, `trivial` and `linear`."""


class PythonModel(Protocol):
    """A model that is not a scikit-learn estimator. Its files contain no pickle.

    Define its class in a module of its own: the service has the team's dependencies only, added by `uv add`.
    """

    def fit(self, frame: Frame, label: Any) -> Any:
        """Fit to rows and labels (class codes, or numbers)."""

    def save(self, directory: Path) -> None:
        """Write every file that `load` needs."""

    @classmethod
    def load(cls, directory: Path) -> "PythonModel":
        """Read the files that `save` wrote."""

    def predict(self, frame: Frame) -> Any:
        """Return P(positive) or the number, (rows,), or all probabilities, (rows, classes). RowError: status 422."""


@dataclass(frozen=True)
class Team:
    """The team's code, loaded."""

    name: str
    contract: Contract
    features_sql: str | None
    data: Any
    estimator: Any


def load(root: Path) -> Team:
    """Load the team's package `model` of the repository at `root`; raise LifecycleError naming what is missing."""
    contract, features_sql = load_contract()
    return Team(project_name(root), contract, features_sql, load_data(), _module("estimator", "candidate", "baselines"))


def load_contract() -> tuple[Contract, str | None]:
    """Return the declared contract, and `features.sql` or None; LifecycleError where they are wrong or differ."""
    declared = _module("contract", "ROW", "VERSION")
    if hasattr(declared, "ANSWER") and not hasattr(declared, "TARGET"):
        warn_renamed("ANSWER in src/model/contract.py", "TARGET")
        target = declared.ANSWER
    else:
        target = _module("contract", "TARGET").TARGET
    contract = derive(declared.ROW, target, declared.VERSION)
    sql = Path(str(declared.__file__)).with_name("features.sql")
    features_sql = sql.read_text(encoding="utf-8") if sql.exists() else None
    if contract.lookups and features_sql is None:
        names = ", ".join(column.name for column in contract.lookups)
        problem = f"{sql} is missing, and the contract has Lookup() fields ({names})"
        raise LifecycleError(problem, "Write it, or declare the fields as Request().")
    if features_sql is not None and not contract.lookups:
        raise LifecycleError(f"{sql} computes columns, and the contract has no Lookup() field", f"Delete {sql}.")
    return contract, features_sql


def load_data() -> Data:
    """Return `model.data`, the only module that jobs without training need."""
    return cast(Data, _module("data", "tables", "labels", "population"))


def verify_labels(known: dict[str, str], contract: Contract, defaults: bool) -> tuple[str, ...]:
    """Return the columns of labels() that are not fields; LifecycleError where it lacks the label or a stated field."""
    # `completed` finds missing fields that are required.
    stated = (column.name for column in contract.request if not column.required and column.default is not None)
    if not defaults and (absent := [name for name in stated if name not in known]):
        problem = f"{LABELS} lacks {', '.join(absent)}: the default of the contract would be the value in every row"
        hint = "Select the values that were sent, with the default where none was, or remove the field from the row."
        raise LifecycleError(problem, hint)
    if contract.target.label not in known:
        hint = "Select it under the name that TARGET in src/model/contract.py gives."
        raise LifecycleError(f"{LABELS} lacks the label {contract.target.label}", hint)
    return contract.target.label, *sorted(TIMES & known.keys())


def project_name(root: Path) -> str:
    """Return the model's name: the name of the distribution in `pyproject.toml`, without `-model`."""
    try:
        name = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
        return str(name).removesuffix(SUFFIX)
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        problem = f"{root / 'pyproject.toml'} does not name the project ({error})"
        raise LifecycleError(problem, "Run this in the root of the repository.") from error


def verify_loss(name: str, estimator: Any, target: Target) -> None:
    """Compare the loss that the parameters of an estimator state with that of the target.

    Raises LifecycleError where the estimator predicts a quantile and the target is no or another quantile, or it
    predicts the mean and the target is a quantile. Where the parameters do not say it, the gate decides.
    """
    while (inner := _inner(estimator)) is not None:
        estimator = inner
    given = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    loss = str(next((given[each] for each in LOSSES if given.get(each)), ""))
    is_quantile = "quantile" in f"{loss} {type(estimator).__name__}".lower()
    level = next((given[each] for each in LEVELS if isinstance(given.get(each), float)), None) if is_quantile else None
    is_stated = level is not None or "squared" in loss or (is_quantile and target.quantile is None)
    if target.task == "regression" and is_stated and (level != target.quantile or (is_quantile and level is None)):
        own, wanted = ("the mean" if each is None else f"the {each:g} quantile" for each in (level, target.quantile))
        own = "a quantile" if is_quantile and level is None else own
        problem = f"src/model/estimator.py: the {name} estimator predicts {own}, and TARGET is {wanted}"
        both = level or target.quantile or 0.9
        wanted = f"Regression(label={target.label!r}, quantile={both:g})"
        hint = f'A model of loss="quantile", quantile={both:g} needs TARGET = {wanted} in src/model/contract.py; '
        raise LifecycleError(problem, f"{hint}without a quantile, the loss is the squared error.")


def _inner(estimator: Any) -> Any:
    """Return the part of an estimator that predicts: the last step of a pipeline, or what a wrapper contains."""
    if hasattr(estimator, "steps"):
        return estimator.steps[-1][1]
    return next((part for name in WRAPPED if (part := getattr(estimator, name, None)) is not None), None)


def python_class(path: str) -> Any:
    """Return the class at `module:Class`."""
    return pkgutil.resolve_name(path)


def requirements(packages: Iterable[str], project: str) -> set[str]:
    """Return the distributions of the packages that the team's code imports, and those that the team declares."""
    # Repositories of 0.1.0 and 0.2.0 have no suffix.
    own = installed(f"{project}{SUFFIX}")
    distribution = own.name if own else project
    known = metadata.packages_distributions()
    imported = {name for package in packages for name in known.get(package, ())}
    lines = [line for line in metadata.requires(distribution) or [] if "extra ==" not in line]
    # A requirement of another platform is not installed here.
    declared = (installed(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in lines)
    # The team's own code is in the bundle.
    return {*imported, *(each.name for each in declared if each)} - {distribution}


def installed(distribution: str) -> metadata.Distribution | None:
    """Return an installed distribution, or None."""
    try:
        return metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None


def _module(name: str, *members: str) -> ModuleType:
    path = f"src/model/{name}.py"
    try:
        found = importlib.import_module(f"model.{name}")
    except ModuleNotFoundError as error:
        if error.name not in ("model", f"model.{name}"):
            problem = f"{path} imports {error.name}, which is not installed"
            raise LifecycleError(problem, f"uv add {error.name}") from error
        raise LifecycleError(f"{path} cannot be found", "Run this in the repository, after make setup.") from error
    except (SyntaxError, NameError, AttributeError, TypeError, ValueError, ImportError) as error:
        problem = f"{path} cannot be imported: {type(error).__name__}: {error}"
        raise LifecycleError(problem, f"`python -c 'import model.{name}'` in .venv shows the line.") from error
    missing = [member for member in members if not hasattr(found, member)]
    if missing:
        problem = f"{path} does not define {', '.join(missing)}"
        raise LifecycleError(problem, "lifecycle/src/lifecycle/contract/team.py describes what it must contain.")
    return found

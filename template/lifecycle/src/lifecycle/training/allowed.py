"""Verify that a fitted model predicts every kind of row that the contract allows, not only those in the tables.

Otherwise the service would return status 500 for such a row, possibly months after the training.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract.schema import Column, Contract
from lifecycle.errors import LifecycleError
from lifecycle.models.runtimes import Model

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
MOST_LEVELS, MOST_NAMED, ROWS_AT_ONCE = 50, 5, 200
UNSEEN = "an unseen level"
NULL_HINT = "add an imputer, use an estimator that takes NaN, or forbid the null in src/model/contract.py"
LEVEL_HINT = "use an encoder that takes any code (that of an unseen level is -1), or state other levels in the contract"
LIMIT_HINT = "use an estimator that takes it, or narrow the limits in src/model/contract.py"


def verify_allowed_rows(model: Model, contract: Contract, frame: "pd.DataFrame") -> None:
    """Let a fitted model predict a row of `frame` alone, and with each value that the contract allows in one column.

    The values are null, levels (an unseen one where the contract states none) and the limits of the column.

    Raises:
        LifecycleError: the model raises or returns an invalid output; the message names the first such columns.
    """
    first = frame[[column.name for column in contract.columns]].head(1).astype("object")
    row = {str(name): value for name, value in first.where(first.notna(), None).iloc[0].items()}
    if reason := _failure(model, [row]):
        problem = f"src/model/estimator.py: the estimator {reason} a single row"
        raise LifecycleError(problem, "The service predicts rows one by one: accept any number of rows.")
    if faults := [*islice(_faults(model, contract, row), MOST_NAMED)]:
        problem = "src/model/estimator.py: the estimator fails on rows that the contract allows:\n  "
        raise LifecycleError(problem + "\n  ".join(faults), "Then run `make train` again.")


def _faults(model: Model, contract: Contract, row: Row) -> Iterator[str]:
    """Return a message for each column in which a value makes the model fail."""
    probes = [(column.name, *each) for column in contract.inputs for each in _values(column)]
    named = set[str]()
    for start in range(0, len(probes), ROWS_AT_ONCE):
        some = probes[start : start + ROWS_AT_ONCE]
        # One call for all of them, because there is usually no fault to find.
        if _failure(model, [row | {column: value} for column, value, _, _ in some]):
            for column, value, text, hint in some:
                if column not in named and (reason := _failure(model, [row | {column: value}])):
                    named.add(column)
                    yield f"column {column} may be {text} in the contract, and the estimator {reason} {text}: {hint}"


def _values(column: Column) -> Iterator[tuple[Any, str, str]]:
    """Return values that the contract allows in a column, each with its text and the hint for a model that fails."""
    if column.nullable:
        yield None, "null", NULL_HINT
    if column.kind == "category" and not column.levels:
        yield UNSEEN[: column.max_length], UNSEEN, LEVEL_HINT
    for level in column.levels[:MOST_LEVELS]:
        yield level, repr(level), LEVEL_HINT
    for limit in (False, True) if column.kind == "boolean" else (column.low, column.high):
        if limit is not None:
            yield int(limit) if column.kind == "integer" else limit, f"{limit}", LIMIT_HINT


def _failure(model: Model, rows: list[Row]) -> str:
    """Return how the model fails on rows, as part of a sentence; empty where it predicts them."""
    try:
        with np.errstate(all="ignore"):
            model.predict_rows(rows)
    except LifecycleError as error:
        return f"has an invalid output ({error.problem}) on"
    except Exception as error:  # Estimators of any library are possible, and so are their exceptions.
        cause = next(iter(f"{error}".splitlines()), "")
        return f"raises ({type(error).__name__}: {cause}) on"
    return ""

"""Choose the prediction to carry over, among all that the notebook makes."""

from lifecycle.errors import LifecycleError
from looseleaf.lift.hints import TEXTS, hint_for
from looseleaf.lift.slicing import Fact, Trace

# A prediction for a smaller share of the rows is a trial.
SHARE = 0.15
HELPERS = ("KMeans", "PCA", "TSNE", "Stub")


def candidates(trace: Trace, model: str = "") -> list[int]:
    """Return the positions of predictions worth carrying over, the default last.

    The default is the last prediction by an estimator that the author saved to disk, else the last that was not made on
    the rows of its fit. `model` is a name in the notebook. Raises LifecycleError where there is none.
    """
    found = [(at, each) for at, each in enumerate(trace.facts["predictions"]) if each["model"] not in HELPERS]
    if not found:
        raise _nothing(trace)
    if model:
        found = [(at, each) for at, each in found if model in (*each["names"], each["model"])]
        if not found:
            names = {name for each in trace.facts["predictions"] for name in (*each["names"], each["model"])}
            raise LifecycleError(f"no model with the name {model} predicts", f"These do: {', '.join(sorted(names))}.")
    largest = max(each["rows"] for _, each in found)
    found = [(at, each) for at, each in found if each["rows"] >= min(20, largest) and each["rows"] >= SHARE * largest]
    return [at for at, _ in sorted(found, key=lambda each: (each[1]["saved"], not each[1]["on_fit"], each[0]))]


def describe(trace: Trace, each: Fact) -> str:
    """Return a prediction on one line."""
    cell = trace.statements[each["statement"]]["cell"]
    name = ", ".join(each["names"][:2]) or "a model without a name"
    facts = {"saved to disk": each["saved"], "on the rows of its fit": each["on_fit"]}
    notes = "".join(f" ({note})" for note, holds in facts.items() if holds)
    return f"{name}.{each['method']} ({each['model']}) in cell {cell}, {each['rows']} rows{notes}"


def _nothing(trace: Trace) -> LifecycleError:
    problem = "the notebook never calls predict()"
    for each in trace.statements:
        if each["error"]:
            return LifecycleError(f"{problem}, and cell {each['cell']} fails: {each['error']}", hint_for(each["error"]))
    if any("statsmodels" in code for code in trace.codes.values()):
        return LifecycleError(f"{problem} of a model that can be kept without pickle", TEXTS["statsmodels"])
    return LifecycleError(problem, TEXTS["predict"])

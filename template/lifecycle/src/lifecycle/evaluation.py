"""How good answers are: losses by row, metrics, and whether one set of answers beats another.

Losses: log loss for classes, squared error for a number; lower is better. Both are proper scoring rules (Gneiting &
Raftery 2007), so a model cannot gain by answering anything but what it believes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lifecycle.contract import Answer

Floats = npt.NDArray[np.float64]
EPSILON = 1e-12


def loss_name(answer: Answer) -> str:
    """The loss of a task."""
    return "squared error" if answer.task == "number" else "log loss"


def losses(answer: Answer, actual: Floats, given: Floats) -> Floats:
    """Loss of each row; `actual` holds class codes or numbers, `given` is what `predictor.raw` answers."""
    if answer.task == "number":
        return np.asarray((given - actual) ** 2)
    if answer.task == "two classes":
        chance = np.where(actual == 1, given, 1 - given)
    else:
        chance = given[np.arange(len(actual)), actual.astype(int)]
    return np.asarray(-np.log(np.clip(chance, EPSILON, 1.0)))


def metrics(answer: Answer, actual: Floats, given: Floats) -> dict[str, float]:
    """What people read: the loss and the usual metrics of the task (scikit-learn's definitions)."""
    from sklearn.metrics import accuracy_score, average_precision_score, mean_absolute_error, r2_score, roc_auc_score

    mean = float(losses(answer, actual, given).mean())
    if answer.task == "number":
        return {
            "root_mean_squared_error": mean**0.5,
            "mean_absolute_error": float(mean_absolute_error(actual, given)),
            "r2": float(r2_score(actual, given)),
        }
    if answer.task == "two classes":
        both = len(np.unique(actual)) == 2
        ranked = (
            {
                "roc_auc": float(roc_auc_score(actual, given)),
                "average_precision": float(average_precision_score(actual, given)),
            }
            if both
            else {}
        )
        return {"log_loss": mean} | ranked | {"brier": float(((given - actual) ** 2).mean())}
    return {"log_loss": mean, "accuracy": float(accuracy_score(actual, given.argmax(axis=1)))}


@dataclass(frozen=True)
class Improvement:
    """By how much the mean loss of one model is below another's on the same rows, with a one-sided bound each way."""

    mean: float
    lower: float
    upper: float


def improvement(over: Floats, by: Floats, confidence: float, resamples: int, seed: int = 0) -> Improvement:
    """Paired bootstrap (Efron & Tibshirani 1993, §16.4): rows are drawn with replacement, both losses together."""
    differences = over - by
    random = np.random.default_rng(seed)
    size = len(differences)
    means = np.array([differences[random.integers(0, size, size)].mean() for _ in range(resamples)])
    lower, upper = np.quantile(means, [1 - confidence, confidence])
    return Improvement(float(differences.mean()), float(lower), float(upper))

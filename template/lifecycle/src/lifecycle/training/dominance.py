"""Find a column that alone makes a model as good as it is, because it may have been recorded after the label."""

import numpy as np

from lifecycle.contract.schema import Contract
from lifecycle.models.metrics import Floats, losses
from lifecycle.models.runtimes import Model
from lifecycle.training.dataset import LabelledRows

# A column is named if it gives this share of the improvement, and the improvement this share of the trivial loss.
SHARE, IMPROVEMENT, ORDERS = 0.8, 0.3, 5


def dominant(model: Model, contract: Contract, rows: LabelledRows, predicted: Floats, trivial: Floats) -> str:
    """Return a warning that names the column which dominates a model; empty if none does.

    What some columns give is the loss of their partial dependence (Friedman 2001): the mean prediction where all others
    have the values of other rows. Groups of columns are halved, so that a wide table takes few predictions.

    Args:
        model: the fitted model.
        contract: its contract.
        rows: held-out rows.
        predicted: what the model predicts for them.
        trivial: what the trivial baseline predicts for them.
    """
    names, random = [column.name for column in contract.inputs], np.random.default_rng(0)
    orders = [random.permutation(len(rows.label)) for _ in range(ORDERS)]
    worst, best = (losses(contract.target, rows.label, each).mean() for each in (trivial, predicted))
    if len(names) < 2 or worst - best < IMPROVEMENT * worst:
        return ""

    def share(kept: list[str]) -> float:
        own = {name: rows.frame[name].array for name in kept}
        mixed = [rows.frame.iloc[order].reset_index(drop=True).assign(**own) for order in orders]
        mean = np.mean([model.predict_frame(each) for each in mixed], axis=0)
        return float((worst - losses(contract.target, rows.label, mean).mean()) / (worst - best))

    while len(names) > 1:
        names = max(names[: len(names) // 2], names[len(names) // 2 :], key=share)
    found = share(names)
    improvement = f"`{names[0]}` alone gives {found:.0%} of the model's improvement over the trivial baseline"
    return f"{improvement}: is it known before the label?" if found >= SHARE else ""

"""Train scikit-learn's defaults on the raw frame: the baseline for a rendered repository.

Run as a script it prints the metrics as JSON: `plain.py FILE LABEL HELD LEFT_OUT…`, where HELD is a JSON file with a
number for each row of the file: 0 to fit it, 1 to hold it out, 2 to ignore it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, root_mean_squared_error


def measure(file: str, label: str, held: "np.ndarray", left_out: list[str]) -> float:
    """Return the loss on the held-out rows: log loss of a text label, root mean squared error of a number."""
    frame = pd.read_csv(file).drop(columns=left_out)
    target = frame.pop(label)
    for name in frame.select_dtypes(exclude="number"):
        numbers = pd.to_numeric(frame[name], errors="coerce")
        frame[name] = numbers if numbers.notna().mean() > 0.95 else frame[name].astype("category")
    if target.dtype.kind in "if":
        regressor = HistGradientBoostingRegressor(random_state=0).fit(frame[held == 0], target[held == 0])
        held = held == 1
        return float(root_mean_squared_error(target[held], regressor.predict(frame[held])))
    classifier = HistGradientBoostingClassifier(random_state=0).fit(frame[held == 0], target[held == 0])
    held = held == 1
    return float(log_loss(target[held], classifier.predict_proba(frame[held])))


if __name__ == "__main__":
    print(
        json.dumps(measure(sys.argv[1], sys.argv[2], np.array(json.loads(Path(sys.argv[3]).read_text())), sys.argv[4:]))
    )

"""Small notebooks about generated tables, each of them with one difficulty."""

from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd

READ = 'import pandas as pd\ndf = pd.read_csv("passengers.csv")'
SPLIT = """from sklearn.model_selection import train_test_split
X = df[["age", "fare", "sex"]]
y = df["survived"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)"""
FIT = """from sklearn.linear_model import LogisticRegression
model = LogisticRegression()
model.fit(X_train, y_train)"""
PREDICT = "model.predict_proba(X_test)[:, 1]"
SEX = 'df["sex"] = (df["sex"] == "female").astype(int)'
MEAN = 'df["age"] = df["age"].fillna(df["age"].mean())'


def passengers(rows: int = 200) -> pd.DataFrame:
    """Return a table with missing ages, two classes of text and a label that depends on them."""
    random = np.random.default_rng(1)
    table = pd.DataFrame({
        "name": [f"P {at}" for at in range(rows)],
        "age": random.normal(35, 10, rows).round(1),
        "fare": random.lognormal(3, 0.7, rows).round(2),
        "sex": random.choice(["female", "male"], rows),
        "port": random.choice(["C", "Q", "S"], rows),
        "cabin": [f"{deck}-{at}" for at, deck in enumerate(random.choice(["A", "B"], rows))],
    })  # fmt: skip
    chance = 1 / (
        1 + np.exp(-((table["sex"] == "female") * 2 - 1 - 0.03 * (table["age"] - 35) + 0.4 * (table["port"] == "C")))
    )
    table["survived"] = (random.random(rows) < chance).astype(int)
    table.loc[random.random(rows) < 0.2, "age"] = np.nan
    return table


def write(folder: Path, *cells: str, table: pd.DataFrame | None = None, **metadata: Any) -> Path:
    """Write a notebook with these code cells, and its table, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (passengers() if table is None else table).to_csv(folder / "passengers.csv", index=False)
    notebook = nbformat.v4.new_notebook(metadata=metadata)
    notebook.cells = [nbformat.v4.new_markdown_cell("# A notebook"), *map(nbformat.v4.new_code_cell, cells)]
    path = folder / "notebook.ipynb"
    nbformat.write(notebook, path)
    return path

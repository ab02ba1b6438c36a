"""Training and `make score INPUT=` read the same file as the same rows, however its values are written."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lifecycle import features
from lifecycle.contract import tables
from lifecycle.contract.team import Team
from lifecycle.scoring import own_rows
from lifecycle.scoring.parts import RowFile
from support.inference import Inferred, infer

FIRST = datetime(2022, 1, 1)
Draw = random.Random
WRITERS: dict[str, Callable[[Draw], str]] = {
    "german": lambda draw: f"{draw.uniform(-99, 99999):,.2f}".translate(str.maketrans(",.", ".,")) + " €",
    "dollars": lambda draw: f"${draw.randint(1, 99999):,}",
    "accounting": lambda draw: f"({draw.randint(1, 99)}.5)" if draw.random() < 0.3 else f"{draw.randint(1, 99)}.5",
    "kilo": lambda draw: f"{draw.randint(10, 99)}.{draw.randint(1, 9)}k",
    "percent": lambda draw: f"{draw.randint(0, 100)} %",
    "unit": lambda draw: f"{draw.randint(10, 99)} m²",
    "minus": lambda draw: f"\u2212{draw.randint(1, 99)}.5" if draw.random() < 0.5 else f"{draw.randint(1, 99)}.5",
    "unknown": lambda draw: draw.choice(["?", "n/a", "17", "18", "19"]),
    "whole": lambda draw: str(draw.randint(0, 500)),
    "boolean": lambda draw: draw.choice(["Yes", "no", "NO", "yes", ""]),
    "ja": lambda draw: draw.choice(["ja", "nein"]),
    "padded": lambda draw: draw.choice(["  Public", "Private ", "?"]),
    "code": lambda draw: draw.choice(["007", "012", "100"]),
    "day": lambda draw: f"{FIRST + timedelta(days=draw.randint(0, 900)):%d.%m.%Y}",
    "american": lambda draw: f"{FIRST + timedelta(days=draw.randint(0, 900)):%m/%d/%Y}",
    "digits": lambda draw: f"{FIRST + timedelta(days=draw.randint(0, 900)):%Y%m%d}",
    "zoned": lambda draw: f"{FIRST + timedelta(minutes=draw.randint(0, 10**6)):%Y-%m-%d %H:%M:%S} UTC",
    "open_end": lambda draw: (
        "9999-12-31" if draw.random() < 0.01 else f"{FIRST + timedelta(draw.randint(0, 900)):%Y-%m-%d}"
    ),
    "month": lambda draw: f"{FIRST + timedelta(days=draw.randint(0, 900)):%b %Y}",
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")


def written(folder: Path, seed: int, rows: int = 300) -> tuple[Path, list[str]]:
    """Write a CSV file with some of these columns, in some dialect; returns its path and the names of its columns."""
    draw = Draw(seed)
    encoding = draw.choice(ENCODINGS)
    names = [name for name in draw.sample(list(WRITERS), 8) if not (encoding == "cp1252" and name == "minus")]
    separator = draw.choice([";", "\t"])
    lines = [separator.join(["row_id", *names, "label"])]
    for at in range(rows):
        lines.append(
            separator.join([f"r-{at}", *(WRITERS[name](draw) for name in names), draw.choice(["good", "bad"])])
        )
    above = draw.choice([[], [f"sep={separator}"], ["A title", ""]])
    path = folder / "table.csv"
    path.write_bytes(("\n".join([*above, *lines]) + "\n").encode(encoding))
    return path, names


def loaded(made: Inferred) -> Any:
    """Return the generated data.py as a module."""
    data: Any = ModuleType("data")
    exec(made.data, data.__dict__)
    return data


def completed(made: Inferred, connection: Any) -> list[Any]:
    """Return the completed rows, by key."""
    names = ", ".join(tables.quoted(column.name) for column in made.contract.columns)
    return list(connection.execute(f"SELECT {names} FROM {features.ROWS} ORDER BY row_id").fetchall())


def trained(made: Inferred, path: Path) -> list[Any]:
    """Return the rows of the model as training reads them."""
    with tables.connect() as connection:
        loaded(made).tables(connection, path.parent)
        features.training_rows(connection, Team("", made.contract, None, loaded(made), None), 2**40)
        return completed(made, connection)


def scored(made: Inferred, path: Path, folder: Path) -> list[Any]:
    """Return the rows of the model as `make score INPUT=` reads them."""
    with tables.connect() as connection:
        own_rows(connection, path, made.contract, RowFile(folder / "rows.parquet", 1000), loaded(made).TABLE)
        return completed(made, connection)


@pytest.mark.parametrize("seed", range(12))
def test_the_file_of_training_gives_the_same_rows_when_it_is_scored(tmp_path: Path, seed: int) -> None:
    path, names = written(tmp_path, seed)
    made = infer(path, "label")
    rows = trained(made, path)
    # Rows without a time are not used for training.
    assert len(rows) >= 300 - 10 * (made.plan.time == "open_end")
    by_key = {row[0]: row for row in scored(made, path, tmp_path)}
    assert [by_key[row[0]] for row in rows] == rows
    kinds = {"category": {"padded", "code"}, "boolean": {"boolean", "ja"}}
    dates = {"day", "american", "digits", "zoned", "open_end", "month"}
    for name in set(names) & set(made.inputs):
        kind = next((kind for kind, of in kinds.items() if name in of), "time" if name in dates else "number")
        assert made.inputs[name] in (kind, *(["integer"] if kind == "number" else [])), name


def test_a_value_that_training_did_not_see_stops_scoring_and_names_the_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    lines = [f"r{at};1.{at % 900:03},50 €;{'yes' if at % 3 else 'no'}" for at in range(300)]
    path.write_text("\n".join(["row_id;price;label", *lines]), encoding="utf-8")
    made = infer(path, "label")
    path.write_text(path.read_text(encoding="utf-8") + "\nr300;$ 12.50;no\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"price is not a number in 1 of 301 rows \(first: 300\)"):
        scored(made, path, tmp_path)

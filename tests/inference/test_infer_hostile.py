"""Random and damaged tables: inference ends with a contract or with a clear error.

A table is either inferred, and then every labelled row is read through the generated code, or it is rejected with a
message and a hint. A traceback is a defect.
"""

import contextlib
import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from lifecycle.errors import LifecycleError
from support.inference import connect, infer

EACH = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
NASTY = [
    *(
        "",
        " ",
        "?",
        "NA",
        "-",
        "nan",
        "inf",
        "1e400",
        "-0",
        "00",
        "1,5",
        "1.5",
        "1,234",
        "$3",
        "5%",
        "(2)",
        "yes",
        "no",
    ),
    *(
        "2020-01-01",
        "2020-13-45",
        "31/12/2020",
        "12/31/20",
        "9999-99-99",
        "0001-01-01",
        "2020-01-01T25:00",
        "1 Jan 2020",
    ),
    *(
        "a,b",
        'say "x"',
        "it's",
        "a\nb",
        "\\",
        "{x}",
        "%s",
        "é",
        "Köln",
        "名",
        "\u00a0",
        "\u202e",
        "🙂",
        "\x7f",
        "NULL",
        "x" * 300,
    ),
    *(
        "99999999999999999999",
        "9223372036854775808",
        "1_000",
        "0x1f",
        "١٢",
        "²",
        "TRUE",
        "t",
        "None",
        "-1e-320",
        "1e-400",
    ),
]
NAMES = st.one_of(
    st.sampled_from(
        [
            *(
                "a",
                "b",
                "label",
                "Label",
                "id",
                "ts",
                "date",
                "class",
                "a b",
                "a_b",
                "",
                " ",
                "é",
                "名",
                'q"',
                "{}",
                "\\",
                "1",
            )
        ]
    ),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=12),
)
VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8),
    st.integers().map(str),
    st.floats().map(str),
    st.dates().map(str),
    st.datetimes().map(str),
)


@st.composite
def columns(draw: Any) -> dict[str, list[str]]:
    """Draw columns by name: of few values, of many, or of one kind with exceptions."""
    rows = draw(st.sampled_from([0, 1, 2, 3, 5, 12, 25, 60]))
    names = draw(st.lists(NAMES, min_size=0, max_size=5))
    made = {}
    for name in [*names, "label"]:
        levels = draw(st.lists(VALUES, min_size=1, max_size=draw(st.sampled_from([1, 2, 3, 30]))))
        made[name] = draw(st.lists(st.sampled_from(levels), min_size=rows, max_size=rows))
    order = draw(st.permutations(list(made)))
    return {name: made[name] for name in order}


def attempt(content: bytes, name: str) -> None:
    """Infer a contract, accepting only a LifecycleError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with contextlib.suppress(LifecycleError):
            made = infer(path, "label")
            assert made.rows > 0
            assert made.contract.inputs


def as_csv(table: dict[str, list[str]], delimiter: str) -> str:
    """Return the table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return out.getvalue()


@settings(EACH, max_examples=100)
@given(columns(), st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_100_tables_of_text(table: dict[str, list[str]], delimiter: str, encoding: str) -> None:
    attempt(as_csv(table, delimiter).encode(encoding), "table.csv")


@settings(EACH, max_examples=75)
@given(columns(), st.data())
def test_75_files_that_were_cut_or_overwritten(table: dict[str, list[str]], data: Any) -> None:
    content = bytearray(as_csv(table, ",").encode())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    attempt(bytes(content[: data.draw(st.integers(0, len(content)))]), "table.csv")


TYPED = st.one_of(
    st.lists(st.one_of(st.none(), st.floats()), min_size=1, max_size=9),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=9),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=1, max_size=3),
    st.lists(st.one_of(st.none(), st.sampled_from(NASTY)), min_size=1, max_size=9),
    st.lists(st.dates().map(pd.Timestamp), min_size=1, max_size=9) | st.lists(st.binary(), min_size=1, max_size=3),
)


@settings(EACH, max_examples=75)
@given(st.lists(st.tuples(NAMES, TYPED), max_size=5), TYPED, st.sampled_from([1, 2, 12, 60]))
def test_75_tables_of_types(typed: list[tuple[str, list[Any]]], label: list[Any], rows: int) -> None:
    table = {name: values for name, values in typed if name and name.casefold() != "label"} | {"label": label}
    frame = pd.DataFrame({name: [values[at % len(values)] for at in range(rows)] for name, values in table.items()})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        try:
            connect().from_df(frame).write_parquet(str(path))
        except (duckdb.Error, ValueError, OverflowError):
            reject()  # pandas or DuckDB cannot represent it
        attempt(path.read_bytes(), "table.parquet")

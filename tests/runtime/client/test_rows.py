"""The rows of a client accept what the service accepts, and its types help."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest
from client import PACKAGE
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.contract.rows import RowError, RowReader
from lifecycle.contract.schema import Column, Contract
from support.clients import HOSTILE, load
from support.rendering import TEMPLATE, tool
from support.sales import SALE
from support.tables import TABLES
from support.teams import TARGETS, Order, derive

SAMPLE = Contract.from_json((TEMPLATE / "contract.json").read_bytes())
CONTRACTS = {
    "sample": SAMPLE,
    "orders": derive(Order, TARGETS["multiclass"], 1),
    "hostile": HOSTILE,
    "sales": SALE,
    **{name: derive(table.row, table.target, 2) for name, table in TABLES.items()},
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    folder = tmp_path_factory.mktemp("clients")
    return {name: load(contract, f"unit-{name}", folder) for name, contract in CONTRACTS.items()}


ODD: list[Any] = [None, True, False, "", "a", "3", "NaN", 0, 1, -1, 3.0, 2.5, 1e39, float("nan"), 10**400, [], {}]
ODD += ["2026-01-01", "2026-01-01T00:00:00Z", "2026-02-30", "20260101", "1770771230", 1770771230, "\ud800"]


def valid(column: Column) -> st.SearchStrategy[Any]:
    """Return values of a column as they are in JSON."""
    own: dict[str, st.SearchStrategy[Any]] = {
        "number": st.floats(column.low, column.high),
        "integer": st.integers(int(column.low or 0), int(column.high or 2**40)),
        "boolean": st.booleans(),
        "time": st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat),
        "category": st.sampled_from(column.levels) if column.levels else st.text(max_size=column.max_length),
    }
    return own[column.kind] | st.none() if column.nullable else own[column.kind]


def odd(column: Column) -> st.SearchStrategy[Any]:
    """Return values at and around the limits of a column, and values of other types."""
    edges = [edge for limit in (column.low, column.high) if limit is not None for edge in (limit, limit - 1, limit + 1)]
    long = "x" * (column.max_length or 0)
    whole = [int(edge) for edge in edges if abs(edge) < 1e9]
    return st.sampled_from([*edges, *whole, *map(float, whole), *column.levels, long, f"{long}x", *ODD])


@st.composite
def bodies(draw: st.DrawFn, contract: Contract) -> dict[str, Any]:
    """Return rows as in JSON: valid but for one field, which may be missing or unknown."""
    required = {column.name: valid(column) for column in contract.request if column.required}
    rest = {column.name: valid(column) for column in contract.request if not column.required}
    row: dict[str, Any] = draw(st.fixed_dictionaries(required, optional=rest))
    column = draw(st.sampled_from(contract.request))
    change = draw(st.sampled_from(["none", "odd", "odd", "odd", "missing", "another"]))
    if change == "odd":
        row[column.name] = draw(odd(column))
    elif change == "missing":
        row.pop(column.name, None)
    elif change == "another":
        row[f"{column.name} "] = 1
    return row


def read(reader: RowReader, body: str) -> dict[str, Any] | None:
    """Return the row as the service reads it; None where the service refuses it."""
    try:
        return reader.read(body.encode(errors="surrogatepass"))[0][0]
    except RowError:
        return None


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_client_accepts_what_the_service_accepts_and_sends_it_unchanged(
    clients: dict[str, ModuleType], name: str
) -> None:
    reader, row_type, accepted, refused = RowReader(CONTRACTS[name]), clients[name].Row, [], []

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(bodies(CONTRACTS[name]))
    def check(row: dict[str, Any]) -> None:
        body = json.dumps(row)
        found = read(reader, body)
        (refused if found is None else accepted).append(row)
        if found is None:
            return
        for made in (row_type.model_validate(json.loads(body)), row_type.model_validate_json(body)):
            again = made.model_dump_json(by_alias=True, exclude_unset=True)
            assert read(reader, again) == found
            assert json.loads(again).keys() == row.keys()

    check()
    assert min(len(accepted), len(refused)) > 20, "both outcomes must have been tried"


def test_python_names_and_contract_names_are_both_accepted(clients: dict[str, ModuleType]) -> None:
    row = clients["telco"].Row(
        customer_id="a", senior_citizen=0, tenure=3, internet_service="DSL", contract="One year",
        payment_method="x", monthly_charges=3, total_charges=None,
    )  # fmt: skip
    sent = json.loads(row.model_dump_json(by_alias=True))
    assert sent["SeniorCitizen"] == 0
    assert clients["telco"].Row(**sent) == row


def test_no_field_has_the_contract_name_of_another_column(clients: dict[str, ModuleType]) -> None:
    fields = clients["hostile"].Row.model_fields
    names = {name: info.alias or name for name, info in fields.items()}
    assert sorted(names.values()) == sorted(column.name for column in HOSTILE.request)
    assert not [name for name in names if name in names.values() and names[name] != name]
    assert names["a_b_3"] == "a b"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("tenure", "3"), ("tenure", -1), ("tenure", True), ("contract", "Two years"), ("monthly_charges", float("nan"))],
)
def test_an_invalid_row_is_refused_without_its_values_in_the_message(
    clients: dict[str, ModuleType], field: str, wrong: Any
) -> None:
    row = {
        "customer_id": "ana-77123", "senior_citizen": 0, "tenure": 3, "internet_service": "DSL",
        "contract": "One year", "payment_method": "x", "monthly_charges": 3.0, "total_charges": None,
    }  # fmt: skip
    with pytest.raises(pydantic.ValidationError) as caught:
        clients["telco"].Row(**row | {field: wrong})
    assert len(caught.value.errors()) == 1
    assert str(wrong) not in str(caught.value).replace("Two year'", "")
    assert "77123" not in str(caught.value)


def test_rows_are_hashable_and_frozen(clients: dict[str, ModuleType]) -> None:
    row = clients["sample"].Row(customer_id="a")
    assert len({row, clients["sample"].Row(customer_id="a")}) == 1
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        row.customer_id = "b"


def test_numpy_numbers_and_whole_numbers_of_a_data_frame_are_accepted(clients: dict[str, ModuleType]) -> None:
    import numpy as np

    row = clients["bikes"].Row(
        instant=3.0, season=np.float64(2.0), hr=3, workingday=1, weathersit=1, temp=np.float64(0.5), hum=1
    )
    assert json.loads(row.model_dump_json(by_alias=True))["season"] == 2


def test_descriptions_units_limits_and_defaults_are_in_the_types(clients: dict[str, ModuleType]) -> None:
    schema = clients["sample"].Row.model_json_schema()["properties"]["discount"]
    assert schema["description"] == "The discount offered for the next 30 days. Unit: percent."
    assert (schema["minimum"], schema["maximum"], schema["default"]) == (0.0, 100.0, 0.0)
    assert "median_house_value" not in clients["housing"].Row.model_fields
    assert clients["housing"].Prediction.model_fields["prediction"].description == "Unit: USD."


APPLICATION = """
import asyncio
from typing import assert_type

from unit_orders_client import AsyncClient, Client, ClientError, InvalidRow, Prediction, Row


def predict(client: Client) -> str:
    try:
        prediction = client.predict(Row(order_id="a", order_amount=3, items=1, city="Bonn"))
    except InvalidRow as error:
        return error.faults[0].msg
    assert_type(prediction, Prediction)
    assert_type(client.predict_many([Row(order_id="a", order_amount=None, items=1, city="b")]), list[Prediction])
    assert_type(prediction.probabilities["air"], float)
    prediction.probabilities["train"]  # wrong
    Row(order_id="a", order_amount=None, items="1", city="b")  # wrong
    Row(order_id="a", order_amount=None, items=1, city="b", class_="green")  # wrong
    Row(order_id="a", items=1, city="b")  # wrong
    client.predict("a")  # wrong
    return prediction.prediction


async def main() -> None:
    async with AsyncClient("http://127.0.0.1:8000") as client:
        row = Row(order_id="a", order_amount=3, items=1, city="b", gift=True)
        assert_type(await client.predict(row), Prediction)
        assert_type(await client.ready(), bool)
"""


def test_the_generated_package_is_strictly_typed_and_finds_mistakes(
    clients: dict[str, ModuleType], tmp_path: Path
) -> None:
    for name, contract in CONTRACTS.items():
        load(contract, f"unit-{name}", tmp_path)
    (tmp_path / "src/application.py").write_text(APPLICATION, encoding="utf-8")
    packages = sorted(path.name for path in tmp_path.glob("src/*_client"))
    assert len(packages) == len(CONTRACTS)
    command = [tool("mypy"), "--strict", "--cache-dir", str(tmp_path / "cache"), "application.py", *packages]
    done = subprocess.run(command, cwd=tmp_path / "src", capture_output=True, text=True)
    wrong = [at for at, line in enumerate(APPLICATION.splitlines(), 1) if line.endswith("# wrong")]
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[:2] for line in lines] == [["application.py", str(at)] for at in wrong], done.stdout


def test_a_client_imports_only_what_it_requires(tmp_path: Path) -> None:
    for path in PACKAGE.glob("*.py"):
        assert "lifecycle" not in path.read_text(encoding="utf-8"), path
    load(SAMPLE, "alone", tmp_path)
    code = "import sys, alone_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "src", capture_output=True, text=True, check=True
    )
    assert not {"numpy", "lifecycle", "pandas", "jinja2", "fastapi"} & {*done.stdout.split()}

"""The client without a network: what its types take, when it asks again, and what an error says."""

import itertools
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.cli import entry
from lifecycle.client import source, wheel
from lifecycle.client.shipped import errors
from lifecycle.client.shipped.calls import Calls, Flow, Outcome, Send, Service, Wait
from lifecycle.client.shipped.replies import Reply
from lifecycle.client.shipped.values import BaseAnswer, BaseRow
from lifecycle.contract.rows import RowError, RowReader
from lifecycle.contract.schema import Column, Contract
from lifecycle.settings import Settings
from lifecycle.storage import Store
from support.clients import HOSTILE, load
from support.rendering import ROOT, TEMPLATE, tool
from support.storages import CHURN, Storage
from support.tables import TABLES
from support.teams import TARGETS, Order, derive

SAMPLE = Contract.from_json((TEMPLATE / "contract.json").read_bytes())
CONTRACTS = {
    "sample": SAMPLE,
    "orders": derive(Order, TARGETS["multiclass"], 1),
    "hostile": HOSTILE,
    **{name: derive(table.row, table.target, 2) for name, table in TABLES.items()},
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    folder = tmp_path_factory.mktemp("clients")
    return {name: load(contract, f"unit-{name}", folder) for name, contract in CONTRACTS.items()}


# ── what a row takes ──────────────────────────────────────────────────────────────────────────────────────────────────

ODD: list[Any] = [None, True, False, "", "a", "3", "NaN", 0, 1, -1, 3.0, 2.5, 1e39, float("nan"), 10**400, [], {}]
ODD += ["2026-01-01", "2026-01-01T00:00:00Z", "2026-02-30", "20260101", "1770771230", 1770771230, "\ud800"]


def sound(column: Column) -> st.SearchStrategy[Any]:
    """Values of a column as JSON has them."""
    own: dict[str, st.SearchStrategy[Any]] = {
        "number": st.floats(column.low, column.high),
        "integer": st.integers(int(column.low or 0), int(column.high or 2**40)),
        "boolean": st.booleans(),
        "time": st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat),
        "category": st.sampled_from(column.levels) if column.levels else st.text(max_size=column.max_length),
    }
    return own[column.kind] | st.none() if column.nullable else own[column.kind]


def odd(column: Column) -> st.SearchStrategy[Any]:
    """Values at the limits of a column and beside them, and what may be none of its."""
    edges = [edge for limit in (column.low, column.high) if limit is not None for edge in (limit, limit - 1, limit + 1)]
    long = "x" * (column.max_length or 0)
    whole = [int(edge) for edge in edges if abs(edge) < 1e9]
    return st.sampled_from([*edges, *whole, *map(float, whole), *column.levels, long, f"{long}x", *ODD])


@st.composite
def bodies(draw: st.DrawFn, contract: Contract) -> dict[str, Any]:
    """Rows as they come from JSON: sound in all but one field, which may be missing or nobody's."""
    required = {column.name: sound(column) for column in contract.request if column.required}
    rest = {column.name: sound(column) for column in contract.request if not column.required}
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
    """The row as the service reads it; None where it refuses."""
    try:
        return reader.read(body.encode(errors="surrogatepass"))[0][0]
    except RowError:
        return None


@pytest.mark.parametrize("name", CONTRACTS)
def test_what_the_service_takes_the_client_takes_and_sends_as_it_was(clients: dict[str, ModuleType], name: str) -> None:
    reader, row_type, taken, refused = RowReader(CONTRACTS[name]), clients[name].Row, [], []

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(bodies(CONTRACTS[name]))
    def held(row: dict[str, Any]) -> None:
        body = json.dumps(row)
        found = read(reader, body)
        (refused if found is None else taken).append(row)
        if found is None:
            return
        for made in (row_type.model_validate(json.loads(body)), row_type.model_validate_json(body)):
            again = made.model_dump_json(by_alias=True, exclude_unset=True)
            assert read(reader, again) == found
            assert json.loads(again).keys() == row.keys()

    held()
    # Otherwise nothing was shown.
    assert min(len(taken), len(refused)) > 20


def test_names_of_python_and_of_the_wire_are_both_taken(clients: dict[str, ModuleType]) -> None:
    row = clients["telco"].Row(
        customer_id="a", senior_citizen=0, tenure=3, internet_service="DSL", contract="One year",
        payment_method="x", monthly_charges=3, total_charges=None,
    )  # fmt: skip
    wire = json.loads(row.model_dump_json(by_alias=True))
    assert wire["SeniorCitizen"] == 0
    assert clients["telco"].Row(**wire) == row


def test_no_field_has_the_name_that_another_column_has_on_the_wire(clients: dict[str, ModuleType]) -> None:
    fields = clients["hostile"].Row.model_fields
    wire = {name: info.alias or name for name, info in fields.items()}
    assert sorted(wire.values()) == sorted(column.name for column in HOSTILE.request)
    assert not [name for name in wire if name in wire.values() and wire[name] != name]
    assert wire["a_b_3"] == "a b"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("tenure", "3"), ("tenure", -1), ("tenure", True), ("contract", "Two years"), ("monthly", float("nan"))],
)
def test_a_row_that_breaks_the_contract_is_refused_where_it_is_made_and_tells_no_value(
    clients: dict[str, ModuleType], field: str, wrong: Any
) -> None:
    sound = {
        "customer_id": "ana-77123", "senior_citizen": 0, "tenure": 3, "internet_service": "DSL",
        "contract": "One year", "payment_method": "x", "monthly_charges": 3.0, "total_charges": None,
    }  # fmt: skip
    name = {"monthly": "monthly_charges"}.get(field, field)
    with pytest.raises(pydantic.ValidationError) as caught:
        clients["telco"].Row(**sound | {name: wrong})
    assert len(caught.value.errors()) == 1
    assert str(wrong) not in str(caught.value).replace("Two year'", "")
    assert "77123" not in str(caught.value)


def test_rows_can_be_keys_and_cannot_be_changed(clients: dict[str, ModuleType]) -> None:
    row = clients["sample"].Row(customer_id="a")
    assert len({row, clients["sample"].Row(customer_id="a")}) == 1
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        row.customer_id = "b"


def test_numbers_of_numpy_and_whole_numbers_of_a_frame_are_taken(clients: dict[str, ModuleType]) -> None:
    import numpy as np

    row = clients["bikes"].Row(
        instant=3.0, season=np.float64(2.0), hr=3, workingday=1, weathersit=1, temp=np.float64(0.5), hum=1
    )
    assert json.loads(row.model_dump_json(by_alias=True))["season"] == 2


# ── the text ──────────────────────────────────────────────────────────────────────────────────────────────────────────

APPLICATION = """
import asyncio
from typing import assert_type

from unit_orders_client import Target, AsyncClient, Client, ClientError, InvalidRow, Row


def ask(client: Client) -> str:
    try:
        answer = client.predict(Row(order_id="a", order_amount=3, items=1, city="Bonn"))
    except InvalidRow as error:
        return error.faults[0].msg
    assert_type(answer, Target)
    assert_type(client.predict_many([Row(order_id="a", order_amount=None, items=1, city="b")]), list[Target])
    assert_type(answer.probabilities["air"], float)
    answer.probabilities["train"]  # wrong
    Row(order_id="a", order_amount=None, items="1", city="b")  # wrong
    Row(order_id="a", order_amount=None, items=1, city="b", class_="green")  # wrong
    Row(order_id="a", items=1, city="b")  # wrong
    client.predict("a")  # wrong
    return answer.prediction


async def main() -> None:
    async with AsyncClient("http://127.0.0.1:8000") as client:
        assert_type(await client.predict(Row(order_id="a", order_amount=3, items=1, city="b", gift=True)), Target)
        assert_type(await client.ready(), bool)
"""


def test_what_is_generated_is_formatted_linted_and_strictly_typed_and_types_help(
    clients: dict[str, ModuleType], tmp_path: Path
) -> None:
    for name, contract in CONTRACTS.items():
        zipfile.ZipFile(BytesIO(wheel.wheel(contract, f"unit-{name}")[1])).extractall(tmp_path)
    (tmp_path / "application.py").write_text(APPLICATION, encoding="utf-8")
    packages = sorted(path.name for path in tmp_path.glob("*_client"))
    assert len(packages) == len(CONTRACTS)

    def ran(*command: str) -> tuple[int, str]:
        done = subprocess.run([tool(command[0]), *command[1:]], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    rules = str(ROOT / "pyproject.toml")
    code, said = ran("ruff", "format", "--config", rules, "--diff", *packages)
    assert code == 0, said
    # Words of a contract may be long, and of any alphabet.
    code, said = ran("ruff", "check", "--config", rules, "--no-cache", "--ignore", "E501,RUF001", *packages)
    assert code == 0, said
    code, said = ran("mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "application.py", *packages)
    wrong = [at for at, line in enumerate(APPLICATION.splitlines(), 1) if line.endswith("# wrong")]
    lines = [line for line in said.splitlines() if ": error:" in line]
    assert [line.split(":")[:2] for line in lines] == [["application.py", str(at)] for at in wrong], said
    assert code == 1


def test_a_client_imports_nothing_but_what_it_requires(tmp_path: Path) -> None:
    for path in wheel.SHIPPED.glob("*.py"):
        assert "lifecycle" not in path.read_text(encoding="utf-8").partition('"""\n')[2], path
    load(SAMPLE, "alone", tmp_path)
    code = "import sys, alone_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {"numpy", "lifecycle", "pandas", "anyio"} & {*done.stdout.split()} <= {"anyio"}


def test_units_limits_and_defaults_are_told_by_the_types(clients: dict[str, ModuleType]) -> None:
    schema = clients["sample"].Row.model_json_schema()["properties"]["discount"]
    assert schema["description"] == "The discount offered for the next 30 days. Unit: percent."
    assert (schema["minimum"], schema["maximum"], schema["default"]) == (0.0, 100.0, 0.0)
    assert "median_house_value" not in clients["housing"].Row.model_fields
    assert clients["housing"].Target.model_fields["prediction"].description == "Unit: USD."


@pytest.mark.parametrize(
    "text", ["", "a\tb", '"', "'", "\"'", '""\'', "\\", "\x00\x7f\xa0", "\u2028\ud800", "{0}%s", "日"]
)
def test_text_is_written_so_that_python_reads_it_again(text: str) -> None:
    assert eval(source.value(text)) == text
    assert source.value(text).isprintable()


# ── the wheel ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_contracts_give_equal_bytes_and_the_version_tells_what_differs() -> None:
    name, content = wheel.wheel(SAMPLE, "churn", 4)
    assert (name, content) == wheel.wheel(Contract.from_json(SAMPLE.to_json()), "churn", 4)
    major, build, number = name.split("-")[1].split(".")
    assert (major, build) == ("1", "4")
    other = replace(SAMPLE, columns=tuple(replace(column, unit="points") for column in SAMPLE.columns))
    assert wheel.wheel(other, "churn", 4)[0].split("-")[1].split(".")[2] != number
    # What callers neither send nor see changes nothing for them.
    assert wheel.wheel(replace(SAMPLE, columns=SAMPLE.request), "churn", 4) == (name, content)
    assert wheel.wheel(replace(SAMPLE, version=2), "churn")[0].split("-")[1].startswith("2.0.")


@pytest.mark.parametrize(
    ("model", "package"),
    [
        ("churn", "churn_client"),
        ("card-fraud", "card_fraud_client"),
        ("Card..Fraud_2", "card_fraud_2_client"),
        ("3d", "model_3d_client"),
        ("größe", "gr_e_client"),
        ("---", "model_client"),
        ("class", "class_client"),
    ],
)
def test_any_name_of_a_model_becomes_one_that_can_be_imported(model: str, package: str, tmp_path: Path) -> None:
    name, content = wheel.wheel(SAMPLE, model)
    assert name.startswith(f"{package}-1.0.")
    assert package.isidentifier()
    files = zipfile.ZipFile(BytesIO(content)).namelist()
    assert f"{package}/py.typed" in files
    compile(wheel.use(SAMPLE, model), "use", "exec")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "card-fraud"\n', encoding="utf-8")
    (tmp_path / "contract.json").write_text(SAMPLE.to_json(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_leaves_one_wheel_that_git_does_not_see_and_says_how_it_is_used(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = repository / "dist"
    dist.mkdir()
    (dist / "another_client-1.0.0-py3-none-any.whl").touch()
    assert entry.main(["client"]) == 0
    (first,) = dist.glob("card_fraud_client-*.whl")
    assert entry.main(["client", "--build", "7"]) == 0
    (second,) = dist.glob("card_fraud_client-*.whl")
    assert second.name.split("-")[1].startswith("1.7.")
    assert first != second
    assert (dist / "another_client-1.0.0-py3-none-any.whl").exists()
    said = capsys.readouterr().out
    assert f"dist/{second.name}" in said
    assert "from card_fraud_client import Client, Row" in said
    assert "Row(customer_id=...)" in said
    subprocess.run(["git", "init", "--quiet"], cwd=repository, check=True)
    seen = subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True, check=True)
    assert "dist" not in seen.stdout


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "contract.json is missing"),
        (b"", "is not a contract"),
        (b"\xff", "is not a contract"),
        (b"[]", "is not a contract"),
        (b'{"x-version": 1}', "is not a contract"),
        (SAMPLE.to_json().replace('"x-version": 1', '"x-version": "1; import os"').encode(), "has the version"),
        (SAMPLE.to_json().replace('"x-version": 1', '"x-version": true').encode(), "has the version"),
        (SAMPLE.to_json().replace('"x-version": 1', '"x-version": 0').encode(), "has the version"),
        (SAMPLE.to_json().replace("100.0", '"100"').encode(), "discount has the limit '100'"),
        (SAMPLE.to_json().replace("100.0", "NaN").encode(), "discount has the limit nan"),
    ],
    ids=range(10),
)
def test_without_a_contract_there_is_no_client(
    repository: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, told: str
) -> None:
    path = repository / "contract.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert entry.main(["client"]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "make contract" in error
    assert not (repository / "dist").exists()


def test_it_is_told_when_what_answers_has_another_contract(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage(Store(Settings().storage), repository / "drafts")
    storage.deploy(storage.publish(CHURN))
    for contract, told in ((CHURN, ""), (replace(CHURN, version=2), "what answers in local has another contract")):
        (repository / "contract.json").write_text(contract.to_json(), encoding="utf-8")
        assert entry.main(["client"]) == 0
        error = capsys.readouterr().err
        assert told in error
        assert bool(error) == bool(told)


def test_a_build_below_zero_and_a_folder_without_a_project_are_refused(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["client", "--build", "-1"]) == 1
    (repository / "pyproject.toml").unlink()
    assert entry.main(["client"]) == 1
    assert "does not name the project" in capsys.readouterr().err


# ── when it asks again ────────────────────────────────────────────────────────────────────────────────────────────────


class Told(BaseAnswer):
    """An answer."""

    prediction: float


class Asked(BaseRow):
    """A row."""

    x: float


class World:
    """A clock that only waiting and slow replies move, and a service that says what it is told."""

    def __init__(self, *script: Outcome, took: float = 0.0, chance: float = 1.0) -> None:
        self.script = itertools.chain(script, itertools.repeat(script[-1]))
        self.took, self.now = took, 1000.0
        self.waits: list[float] = []
        self.sent: list[Send] = []
        service = Service(Told, contract=1, agent="a")
        self.calls = Calls(service, 10.0, 3, clock=lambda: self.now, chance=lambda: chance)

    def run(self, flow: Flow[Any]) -> Any:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, Wait):
                self.waits.append(step.seconds)
                self.now += step.seconds
                outcome = None
            else:
                self.sent.append(step)
                self.now += self.took
                outcome = next(self.script)

    def predict(self, request_id: str = "me") -> Any:
        return self.run(self.calls.predict(Asked(x=1), request_id))

    def fails(self, kind: type[errors.ClientError], request_id: str = "me") -> Any:
        with pytest.raises(errors.ClientError) as caught:
            self.predict(request_id)
        assert type(caught.value) is kind, caught.value
        return caught.value


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


GOOD = reply(200, {"prediction": 3.0}, x_model_version="v7", x_request_id="its")
BUSY = reply(503, {"detail": "the service is ending"}, retry_after="2")
LIMIT = reply(429, {"detail": "too many rows wait"})


def test_an_answer_says_which_version_gave_it_and_to_which_request() -> None:
    world = World(GOOD)
    answer = world.predict()
    assert (answer.prediction, answer.model_version, answer.request_id) == (3.0, "v7", "its")
    assert world.sent == [
        Send("POST", "/predict", 10.0, {"content-type": "application/json", "x-request-id": "me"}, b'{"x":1.0}')
    ]


@pytest.mark.parametrize("again", [BUSY, LIMIT, reply(502), reply(504), errors.Unreachable("gone")], ids=repr)
def test_what_may_pass_is_asked_again_under_the_same_id(again: Outcome) -> None:
    world = World(again, again, GOOD)
    assert world.predict("").prediction == 3.0
    assert len({send.headers["x-request-id"] for send in world.sent}) == 1
    assert len(world.sent) == 3


def test_pauses_double_and_vary_by_chance() -> None:
    world = World(LIMIT)
    world.fails(errors.Overloaded)
    assert world.waits == pytest.approx([0.1, 0.2, 0.4])
    world = World(LIMIT, chance=0.25)
    world.fails(errors.Overloaded)
    assert world.waits == pytest.approx([0.025, 0.05, 0.1])


def test_the_service_is_left_alone_for_as_long_as_it_says() -> None:
    world = World(BUSY, GOOD)
    world.predict()
    assert world.waits == pytest.approx([2.1])


@pytest.mark.parametrize("told", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-3", "1e9", "٣", ""])
def test_a_pause_that_is_no_number_of_seconds_is_not_waited_for(told: str) -> None:
    world = World(reply(503, retry_after=told), GOOD)
    world.predict()
    assert world.waits == pytest.approx([0.1])


def test_no_pause_reaches_beyond_the_time_of_the_call() -> None:
    world = World(reply(503, {"detail": "later"}, retry_after="3600", x_request_id="its"))
    error = world.fails(errors.Overloaded)
    assert (world.waits, len(world.sent)) == ([], 1)
    assert (error.retry_after, error.request_id) == (3600.0, "its")
    assert str(error) == "the service has no time now (503): later (request its)"


def test_all_tries_together_take_no_longer_than_the_call_may() -> None:
    world = World(BUSY, took=3.0)
    world.fails(errors.Overloaded)
    assert world.now <= 1010.0
    assert [send.seconds for send in world.sent] == pytest.approx([10.0, 4.9])


def test_time_that_is_over_is_not_tried_again() -> None:
    world = World(errors.Timeout("late"), took=10.0)
    assert world.fails(errors.Timeout).request_id == "me"
    assert len(world.sent) == 1


FAULTS = [{"type": "greater_than", "loc": ["body", "x"], "msg": "too small"}]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (reply(422, {"detail": FAULTS}), errors.InvalidRow),
        (reply(404, {"detail": FAULTS}), errors.UnknownKey),
        (reply(404, {"detail": "Not Found"}), errors.ServiceError),
        (reply(413, {"detail": "more than 3 rows"}), errors.TooLarge),
        (reply(401, {"detail": "no key"}), errors.Unauthorized),
        (reply(408, {"detail": "slow"}), errors.Timeout),
        (reply(400), errors.ServiceError),
        (reply(403, b"<html>"), errors.ServiceError),
        (reply(301, b"", location="/"), errors.ServiceError),
        (reply(500, {"detail": "internal error"}), errors.ServiceError),
        (reply(200, {"prediction": "three"}), errors.ServiceError),
        (reply(200, {}), errors.ServiceError),
        (reply(200, []), errors.ServiceError),
        (reply(200, [3]), errors.ServiceError),
        (reply(200, b"<html>"), errors.ServiceError),
        (reply(200, b""), errors.ServiceError),
        (reply(200, b"\xff"), errors.ServiceError),
        (reply(200, {"prediction": 3.0}, x_contract_version="2"), errors.WrongContract),
        (reply(422, {"detail": FAULTS}, x_contract_version="2"), errors.WrongContract),
    ],
    ids=lambda given: f"{given.status} {given.body.decode(errors='replace')}" if isinstance(given, Reply) else "",
)
def test_everything_else_is_an_error_of_its_own_at_once(said: Reply, kind: type[errors.ClientError]) -> None:
    world = World(replace(said, headers={**said.headers, "x-request-id": "its"}))
    error = world.fails(kind)
    assert len(world.sent) == 1
    assert error.request_id == "its"
    assert "(request its)" in str(error)
    assert getattr(error, "status", said.status) == said.status


def test_faults_name_the_place_and_the_reason() -> None:
    error = World(reply(422, {"detail": FAULTS})).fails(errors.InvalidRow)
    assert error.faults == (errors.Fault(("x",), "too small", "greater_than"),)
    assert str(error) == "a row breaks the contract: x: too small (request me)"


@pytest.mark.parametrize("detail", [None, 3, "x", [3, "x"], [{}], [{"loc": 3}], [{"loc": [], "msg": None}]])
def test_a_detail_of_any_form_is_survived(detail: Any) -> None:
    assert isinstance(World(reply(422, {"detail": detail})).fails(errors.InvalidRow).faults, tuple)


def test_errors_survive_the_way_to_another_process() -> None:
    for error in (
        World(reply(422, {"detail": FAULTS})).fails(errors.InvalidRow),
        World(reply(503, retry_after="3600")).fails(errors.Overloaded),
        World(reply(500)).fails(errors.ServiceError),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == (str(error), vars(error))


# ── many rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ask_many(count: int, most: int, limit: int, changes: Callable[[int], Reply | None] = lambda first: None) -> Any:
    """What a service with a limit on rows is asked, and what is answered."""
    world = World(GOOD)
    world.calls.most = most
    sizes = []

    def replies() -> Iterator[Reply]:
        while True:
            rows = json.loads(world.sent[-1].content or b"")
            sizes.append(len(rows))
            answers = [{"prediction": row["x"]} for row in rows]
            too_many = reply(413, {"detail": "too many"}) if len(rows) > limit else None
            yield too_many or changes(int(rows[0]["x"])) or reply(200, answers)

    world.script = itertools.chain(replies())
    rows = [Asked(x=at) for at in range(count)]
    return world, sizes, lambda: world.run(world.calls.predict_many(rows, ""))


@pytest.mark.parametrize(("count", "most", "limit"), [(0, 3, 9), (1, 3, 9), (7, 3, 9), (10, 10, 3), (100, 64, 1)])
def test_many_rows_go_in_parts_that_fit_and_come_back_in_order(count: int, most: int, limit: int) -> None:
    world, sizes, run = ask_many(count, most, limit)
    assert [answer.prediction for answer in run()] == list(range(count))
    # What was too much once is not tried again.
    assert sum(size > limit for size in sizes) <= 7
    assert len({send.headers["x-request-id"] for send in world.sent}) <= 1


def test_a_row_that_is_too_large_alone_is_told() -> None:
    _, sizes, run = ask_many(4, 4, 0)
    with pytest.raises(errors.TooLarge):
        run()
    assert sizes == [4, 2, 1]


def test_one_row_that_is_too_large_does_not_slow_down_the_others_for_ever() -> None:
    refusing = reply(413, {"detail": "too large"})
    world, sizes, run = ask_many(8, 8, 8, lambda first: refusing if first == 0 else None)
    with pytest.raises(errors.TooLarge):
        run()
    assert sizes == [8, 4, 2, 1]
    assert world.calls.most == 8


def test_the_fault_of_one_among_many_is_told_by_its_place_among_all() -> None:
    fault = reply(422, {"detail": [{"loc": ["body", 1, "x"], "msg": "too small", "type": "t"}]})
    _, _, run = ask_many(9, 3, 9, lambda first: fault if first == 6 else None)
    with pytest.raises(errors.InvalidRow) as caught:
        run()
    assert caught.value.faults[0].loc == (7, "x")


def test_answers_to_some_of_the_rows_are_none() -> None:
    _, _, run = ask_many(9, 3, 9, lambda first: reply(200, [{"prediction": 1.0}]))
    with pytest.raises(errors.ServiceError):
        run()


@pytest.mark.parametrize(
    ("said", "is_ready"),
    [
        (reply(200), True),
        (BUSY, False),
        (LIMIT, False),
        (errors.Timeout("late"), False),
        (errors.Unreachable("x"), False),
    ],
    ids=repr,
)
def test_ready_is_asked_once(said: Outcome, is_ready: bool) -> None:
    world = World(said)
    assert world.run(world.calls.ready()) is is_ready
    assert len(world.sent) == 1


def test_an_address_that_is_no_service_is_not_just_not_ready() -> None:
    world = World(reply(404, {"detail": "Not Found"}))
    with pytest.raises(errors.ServiceError, match="404"):
        world.run(world.calls.ready())

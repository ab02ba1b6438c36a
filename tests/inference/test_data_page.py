"""The code of `lifecycle/docs/data.md` runs as written, against a real PostgreSQL.

Snowflake and BigQuery cannot run here; their drivers verify the arguments that the page passes to them.
"""

import json
import os
import re
import runpy
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import duckdb
import pytest

import model
from lifecycle import features, settings
from lifecycle.contract import tables
from lifecycle.contract.team import Team
from lifecycle.errors import NotHere
from support import postgres
from support.inference import infer
from support.pages import blocks, replaced
from support.postgres import PASSWORD, Server
from support.rendering import ROOT, TEMPLATE, run, tool

PAGE = (TEMPLATE / "lifecycle/docs/data.md").read_text(encoding="utf-8")
(FILE,) = blocks(PAGE, "Files")
WAREHOUSE, TABLES, EXTENSION = re.findall(r"```python\n(.*?)```", PAGE.partition("## Warehouses\n")[2], re.DOTALL)
IMPORT, CALL = (
    "from adbc_driver_postgresql import dbapi  # type: ignore[import-untyped]",
    'dbapi.connect(os.environ["WAREHOUSE"])',
)
VARIANTS = re.findall(r"^\| (\w+) \| `([\w-]+)` \| `(from .*?)` \| `(dbapi.*?)` \|$", PAGE, re.MULTILINE)
DRIVERS = re.findall(r"`uv add --group lifecycle ([\w-]+)`", PAGE) + [package for _, package, _, _ in VARIANTS]

# 400 of 500 customers have rows since 2024; every tenth label is unknown.
CUSTOMERS = """
    CREATE TABLE customers AS
    SELECT
        'c-' || lpad(i::text, 4, '0') AS customer_id,
        (ARRAY['basic', 'plus', 'family'])[1 + i % 3] AS plan,
        i * 7919 % 61 AS tenure,
        CASE WHEN i % 20 <> 3 THEN (i * 104729 % 5000)::numeric / 100 END AS monthly,
        called_at,
        CASE WHEN i % 10 <> 7 THEN called_at + interval '30 days' END AS seen_at,
        CASE WHEN i % 10 <> 7 THEN i * 7919 % 61 < 20 + i % 7 END AS churned
    FROM (
        SELECT i, timestamptz '2024-01-01 12:00+02' + (i - 100) * interval '1 day' AS called_at
        FROM generate_series(0, 499) AS i
    ) AS calls
"""
SINCE = "called_at >= '2024-01-01 00:00Z'"
# After every row and label.
LATER = 4_102_444_800

everything_about_postgres = pytest.mark.xdist_group("warehouse")


def warehouse_of(driver: str, call: str) -> str:
    """Return the page's module with another import and call."""
    assert WAREHOUSE.count(IMPORT) == WAREHOUSE.count(CALL) == 1
    return WAREHOUSE.replace(IMPORT, driver).replace(CALL, call)


def data_of(generated: str) -> str:
    """Return the generated data.py after the edits of the page's section 3."""
    words = re.search(r"In `data.py`, with `(import os)` and `(from model import warehouse)` above", PAGE)
    assert words
    return replaced(generated.replace("import duckdb\n", f"{words[1]}\nimport duckdb\n{words[2]}\n", 1), TABLES)


def without_driver() -> str:
    """Return the page's module that reads through DuckDB's extension."""
    words = re.search(r"In place of its import, `(.*?)`", PAGE)
    assert words
    return replaced(WAREHOUSE.replace(IMPORT, words[1]), EXTENSION)


def installed(into: Path, *packages: str) -> Path:
    """Install packages into a folder, in addition to the environment of the tests."""
    command = [tool("uv"), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(into), *packages]
    done = run(*command, folder=into.parent)
    assert done.returncode == 0, done.stdout
    return into


def test_every_block_of_the_page_parses_and_passes_the_checks_of_a_repository(tmp_path: Path) -> None:
    ruff, config = tool("ruff"), ["--config", str(ROOT / "pyproject.toml")]
    assert len(VARIANTS) == 2
    whole = [WAREHOUSE, without_driver(), *(warehouse_of(driver, call) for _, _, driver, call in VARIANTS)]
    for number, code in enumerate(whole):
        (tmp_path / f"block_{number}.py").write_text(code)
    # The call of another driver makes its line too long, so that the reader's ruff reformats it.
    done = run(ruff, "format", *config, ".", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert [(tmp_path / f"block_{number}.py").read_text() == code for number, code in enumerate(whole)] == [
        True, True, False, False,
    ]  # fmt: skip
    # The order of imports depends on which packages are first-party, which differs in a repository.
    done = run(ruff, "check", "--ignore=I", *config, ".", folder=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_declaration_of_the_page_reads_a_file_as_it_describes(tmp_path: Path) -> None:
    declared: dict[str, Any] = {}
    exec(FILE, declared)
    lines = ["application;Income (EUR);insured;opened", "A1;1.234,50 €;Ja;05.01.2023", "A2; ;nein;31.12.9999"]
    (tmp_path / "loans.csv").write_text("\n".join(lines), encoding="cp1252")
    with tables.connect() as connection:
        declared["TABLE"].register(connection, tmp_path)
        rows = connection.execute("FROM source").fetchall()
    assert rows == [("A1", 1234.5, True, datetime(2023, 1, 5)), ("A2", None, False, None)]
    assert {name for name in declared if name in ("Boolean", "Number", "Text", "Time")} <= set(
        re.findall(r"`(\w+)`", PAGE)
    )
    for name in re.findall(r"^\| `([A-Z_]+)=", PAGE, re.MULTILINE):
        assert f",{name})" in (TEMPLATE / "lifecycle/lifecycle.mk").read_text(encoding="utf-8")


def test_drivers_are_added_for_jobs_and_not_for_the_service(tmp_path: Path) -> None:
    assert len(DRIVERS) == 3
    text = (TEMPLATE / "pyproject.toml.jinja").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(re.sub(r"\{\{.*\}\}", "churn", text))
    (tmp_path / "lifecycle").symlink_to(TEMPLATE / "lifecycle")
    for name in DRIVERS:
        done = run(tool("uv"), "add", "--frozen", "--group", "lifecycle", name, folder=tmp_path)
        assert done.returncode == 0, done.stdout
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert {*DRIVERS} < {*project["dependency-groups"]["lifecycle"]}
    assert project["project"]["dependencies"] == []
    assert "lifecycle" in project["tool"]["uv"]["default-groups"]


def test_the_folder_of_an_export_is_a_setting(tmp_path: Path) -> None:
    loaded = settings.load(tmp_path, environ={"LIFECYCLE_DATA": str(tmp_path / "export")})
    assert loaded.settings.data == tmp_path / "export"


@pytest.mark.parametrize("name", [".github/workflows/lifecycle.yml.jinja", "lifecycle/ci/gitlab.yml.jinja"])
def test_ci_trains_as_the_page_describes(name: str) -> None:
    assert "make smoke\n" in (TEMPLATE / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a database with customers, and install its driver."""
    with pytest.MonkeyPatch.context() as patch, postgres.server() as server:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        patch.setenv("WAREHOUSE", server.address)
        patch.setenv("PGPASSWORD", PASSWORD)
        patch.setattr(sys, "path", [*sys.path, str(installed(tmp_path_factory.mktemp("driver") / "it", DRIVERS[0]))])
        server.query(CUSTOMERS)
        yield server


@pytest.fixture
def module(shop: Server, tmp_path: Path) -> Path:
    """Return a file with the page's `model.warehouse`."""
    path = tmp_path / "warehouse.py"
    path.write_text(WAREHOUSE)
    return path


@pytest.fixture
def export(module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that `python -m model.warehouse` writes."""
    folder = tmp_path / "data"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["warehouse", str(folder / "called.parquet")])
        runpy.run_path(str(module), run_name="__main__")
    return folder / "called.parquet"


@pytest.fixture
def load(module: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """`load(code)` returns a data.py with that code and the page's `model.warehouse`."""
    monkeypatch.setattr(model, "warehouse", SimpleNamespace(**runpy.run_path(str(module))), raising=False)

    def loaded(code: str) -> ModuleType:
        made = ModuleType("data")
        exec(compile(code, "data.py", "exec"), made.__dict__)
        return made

    return loaded


def trained_on(data: ModuleType, contract: Any, folder: Path, as_of: int = LATER) -> tuple[dict[str, str], list[Any]]:
    """Return types and values of the completed rows that training reads."""
    with features.connect(data, folder) as connection:
        count = features.training_rows(connection, Team("shop", contract, None, data, None), as_of)
        types = tables.describe(connection, f"FROM {features.ROWS}")
        rows = connection.execute(f"FROM {features.ROWS}").fetchall()
    assert count == len(rows)
    return types, rows


@everything_about_postgres
@pytest.mark.slow
def test_rows_of_a_warehouse_reach_training_with_the_types_of_the_contract(
    shop: Server, export: Path, load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = infer(export, "churned")
    assert made.inputs == {"plan": "category", "tenure": "integer", "monthly": "number"}
    assert made.plan.time == "called_at"
    assert "With `SEEN=seen_at`, `make contract` selects" in PAGE
    assert infer(export, "churned", seen="seen_at").data == made.data
    assert (made.plan.seen, made.plan.label_days) == ("seen_at", 30)
    code = data_of(made.data)
    types, rows = trained_on(load(code), made.contract, tmp_path / "empty")

    assert types == {
        "customer_id": "VARCHAR",
        "plan": "VARCHAR",
        "tenure": "BIGINT",
        "monthly": "DOUBLE",
        "churned": "VARCHAR",
        "seen_ts": "BIGINT",
        "ts": "BIGINT",
    }
    expected = shop.query(
        "SELECT json_agg(json_build_array(customer_id, plan, tenure, monthly::double precision, churned::text, "
        "extract(epoch FROM seen_at)::bigint, extract(epoch FROM called_at)::bigint) ORDER BY called_at, customer_id) "
        f"FROM customers WHERE churned IS NOT NULL AND {SINCE}"
    )
    assert rows == [tuple(row) for row in json.loads(expected)]
    assert (len(rows), rows[0][-1]) == (360, 1_704_103_200)

    # A label is known after thirty days, so the rows of the last thirty days are not used for training.
    as_of = rows[-1][-1]
    assert {row[-1] for row in trained_on(load(code), made.contract, tmp_path, as_of)[1]} == {
        row[-1] for row in rows if row[-2] <= as_of
    }

    # CI passes a missing secret as an empty text; then the export is read instead.
    monkeypatch.setenv("WAREHOUSE", "")
    assert trained_on(load(code), made.contract, export.parent) == (types, rows)
    with pytest.raises(NotHere, match="is missing"):
        trained_on(load(code), made.contract, tmp_path / "empty")


@everything_about_postgres
@pytest.mark.slow
def test_rows_outside_the_where_clause_are_not_transferred(shop: Server, load: Callable[[str], ModuleType]) -> None:
    load("")
    with duckdb.connect() as connection:
        model.warehouse.read(connection)  # type: ignore[attr-defined]
        found = connection.execute("SELECT count(*), min(epoch(called_at)) FROM arrived").fetchone()
    assert (shop.query("SELECT count(*) FROM customers"), found) == ("500", (400, 1_704_103_200))


@everything_about_postgres
@pytest.mark.slow
def test_make_check_accepts_the_edited_data_py(export: Path, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/data.py").write_text(data_of(infer(export, "churned").data))
    ruff = [tool("ruff"), "check", "--config", str(ROOT / "pyproject.toml"), "src"]
    for words in (["--fix", "--select=I"], []):
        done = run(*ruff, *words, folder=tmp_path)
        assert done.returncode == 0, done.stdout


@everything_about_postgres
@pytest.mark.slow
def test_a_declaration_made_for_a_csv_reads_the_rows_of_a_warehouse(
    export: Path, load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    table = tmp_path / "customers.csv"
    duckdb.from_parquet(str(export)).write_csv(str(table))
    made, typed = infer(table, "churned"), infer(export, "churned")
    found = trained_on(load(data_of(made.data)), made.contract, tmp_path)
    assert found == trained_on(load(data_of(typed.data)), typed.contract, tmp_path)


@everything_about_postgres
@pytest.mark.slow
def test_types_arrive_as_the_page_describes(shop: Server, load: Callable[[str], ModuleType]) -> None:
    load("")
    assert "`AT TIME ZONE`" in PAGE
    query = """
        SELECT 1.5::numeric AS n, avg(tenure) AS a, extract(epoch FROM min(called_at)) AS e,
            timestamptz '2024-05-01 12:00+02' AS zoned, timestamp '2024-05-01 12:00' AS utc,
            timestamp '2024-05-01 12:00' AT TIME ZONE 'Europe/Berlin' AS berlin
        FROM customers
    """
    page = model.warehouse.read  # type: ignore[attr-defined]
    with duckdb.connect() as connection:
        page(connection)
        assert tables.describe(connection, "FROM arrived")["monthly"] == "DOUBLE"
        page.__globals__["QUERY"] = query
        page(connection)
        described = tables.describe(connection, "FROM arrived")
        seconds = connection.execute("SELECT epoch(zoned), epoch(utc), epoch(berlin) FROM arrived").fetchone()
    assert {name: described[name] for name in "nae"} == dict.fromkeys("nae", "VARCHAR")
    assert seconds == (1_714_557_600, 1_714_564_800, 1_714_557_600)


@everything_about_postgres
@pytest.mark.slow
def test_a_malformed_address_quotes_a_part_of_its_password(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    load("")
    monkeypatch.setenv("WAREHOUSE", "postgresql://reader:open@sesame@127.0.0.1/shop")
    with duckdb.connect() as connection, pytest.raises(Exception, match="sesame"):
        model.warehouse.read(connection)  # type: ignore[attr-defined]


READ = """
import json, os, runpy, sys, duckdb
page = runpy.run_path(sys.argv[1])
with duckdb.connect(config={"threads": 1, "extension_directory": sys.argv[2]}) as connection:
    page["read"](connection)
    rows = connection.execute("SELECT customer_id, monthly, epoch(called_at) FROM arrived").fetchall()
    print(json.dumps([{row[0]: row[1] for row in connection.execute("DESCRIBE arrived").fetchall()}, rows]))
"""


@everything_about_postgres
@pytest.mark.slow
def test_duckdbs_own_extension_reads_the_same_rows(shop: Server, tmp_path: Path) -> None:
    """The extension comes from a package, signed by DuckDB; INSTALL finds it in place."""
    packages = installed(tmp_path / "packages", "duckdb-ext-postgres")
    (tmp_path / "page.py").write_text(without_driver())
    command = [sys.executable, "-c", READ, str(tmp_path / "page.py"), str(packages / "duckdb_ext/extensions")]
    paths = os.pathsep.join([str(packages), str(TEMPLATE / "lifecycle/src")])
    done = run(*command, folder=tmp_path, PYTHONPATH=paths)
    assert done.returncode == 0, done.stdout
    types, rows = json.loads(done.stdout)
    assert (types["monthly"], types["called_at"]) == ("DOUBLE", "TIMESTAMP WITH TIME ZONE")
    expected = shop.query(
        "SELECT json_agg(json_build_array(customer_id, monthly::double precision, extract(epoch FROM called_at)) "
        f"ORDER BY called_at, customer_id) FROM customers WHERE {SINCE}"
    )
    assert rows == json.loads(expected)


# `connect` of the package checks address and options and opens no connection.
OPENED = """
import importlib, inspect, runpy, sys
package = importlib.import_module(sys.argv[2])
dbapi = importlib.import_module(sys.argv[2] + ".dbapi")
assert callable(dbapi.Cursor.fetch_arrow)
signature = inspect.signature(dbapi.connect)
def connect(*arguments):
    signature.bind(*arguments)
    package.connect(*arguments).close()
    sys.exit("opened")
dbapi.connect = connect
runpy.run_path(sys.argv[1])["read"](None)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("warehouse", "package", "driver", "call"), VARIANTS, ids=[each[0] for each in VARIANTS])
def test_the_driver_accepts_the_arguments_of_the_page(
    warehouse: str, package: str, driver: str, call: str, tmp_path: Path
) -> None:
    packages = installed(tmp_path / "packages", package)

    def output(code: str, address: str) -> str:
        (tmp_path / "page.py").write_text(code)
        command = [sys.executable, "-c", OPENED, str(tmp_path / "page.py"), package.replace("-", "_")]
        return run(*command, folder=tmp_path, PYTHONPATH=str(packages), WAREHOUSE=address).stdout

    code = warehouse_of(driver, call)
    if warehouse == "BigQuery":
        assert output(code, "a-project") == "opened\n"
        assert "Unknown database option" in output(code.replace("DatabaseOptions.PROJECT_ID.value", "'PROJECT'"), "it")
        return
    key = re.search(r"`WAREHOUSE` is `(\S+)…`, which is secret", PAGE)
    assert key
    # An invalid key is rejected, which shows that it is read; a token replaces it.
    assert "decoding private key" in output(code, f"{key[1]}none")
    token = key[1].replace("snowflake_jwt&privateKey", "programmatic_access_token&token")
    assert output(code, f"{token}any") == "opened\n"
    assert "use_high_precision': 'maybe'" in output(code.replace('"false"', '"maybe"'), f"{token}any")

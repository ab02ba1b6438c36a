"""The section "Several tables" of `lifecycle/docs/data.md`, followed as written in a new repository."""

import ast
import csv
import datetime
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from looseleaf.project import make
from looseleaf.snapshot import git
from support.pages import blocks, replaced
from support.rendering import TEMPLATE, Template, run

PAGE = (TEMPLATE / "lifecycle/docs/data.md").read_text(encoding="utf-8")
README = (TEMPLATE / "README.md.jinja").read_text(encoding="utf-8")
DATA, FIELDS = blocks(PAGE, "Several tables")
(SQL,) = blocks(PAGE, "Several tables", "sql")
(COMMAND,) = re.findall(r"^make (contract DATA=data/checks\.csv .*)$", PAGE, re.MULTILINE)
FIRST, WEEK, DAY = datetime.date(2025, 1, 6), 7, 86_400


def write(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([names, *rows])


def write_tables(folder: Path) -> None:
    """Write the files that the page names: the hotter a machine was, the more often it fails."""
    chance = random.Random(0)
    names = dict(re.findall(r"^\| `(\w+\.csv)` \| (.*) \|$", PAGE, re.MULTILINE))
    machines, readings, checks = [], [], []
    for number in range(50):
        machine, wear = f"m-{number:02}", chance.random() / 2
        machines.append((machine, chance.choice(["lathe", "mill", "press"]), FIRST - datetime.timedelta(number * 40)))
        for week in range(50):
            day = FIRST + datetime.timedelta(week * WEEK)
            for hour in (1, 13):
                time = f"{day - datetime.timedelta(1)}T{hour:02}:30:00Z"
                readings.append((machine, time, round(50 + 40 * wear + chance.gauss(0, 2), 1)))
            hours = chance.choice([20, 40, 60, 80])
            failed = chance.random() < min(0.95, max(0.02, wear - 0.5 + hours / 400))
            wear = 0.0 if failed else wear + chance.random() / 6
            checks.append((machine, day, hours, "yes" if failed else "no", day + datetime.timedelta(2 * WEEK)))
    for file, rows in {"machines.csv": machines, "readings.csv": readings, "checks.csv": checks}.items():
        write(folder / file, re.findall(r"`(\w+)`", names[file]), rows)


@dataclass(frozen=True)
class Machines:
    """A repository after the steps of the page, and the output of the last command."""

    folder: Path
    output: str

    def edit(self, name: str, text: str) -> None:
        """Write a file of `src/model`."""
        (self.folder / "src/model" / name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        """Read a file of `src/model`."""
        return (self.folder / "src/model" / name).read_text(encoding="utf-8")


def with_page(project: Machines) -> None:
    """Edit the generated files as the page describes."""
    tables = DATA[: DATA.index("\n\n\ndef ")]
    code = replaced(project.read("data.py"), DATA)
    project.edit("data.py", code.replace("\n\n\ndef tables", f"\n{tables}\n\n\ndef tables", 1))
    code = project.read("contract.py").replace("import Binary, Key, ", "import Binary, Key, Lookup, ")
    project.edit("contract.py", code.replace("\n\n\nROW", f"\n{FIELDS.rstrip()}\n\n\nROW", 1))
    project.edit("features.sql", SQL)


@pytest.fixture(scope="module")
def machines(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """Follow the README and the page from a new repository to features for the service."""
    folder = template.copy(tmp_path_factory.mktemp("machines") / "project")
    git("init", "--quiet", folder=folder)
    (folder / "data").mkdir()
    write_tables(folder / "data")
    done = run(*make("setup"), folder=folder)
    assert done.returncode == 0, done.stdout
    done = run(*make(*COMMAND.split()), folder=folder)
    assert done.returncode == 0, done.stdout
    with_page(Machines(folder, ""))
    [steps] = re.findall(r"^`make (contract .*)` continues", PAGE, re.MULTILINE)
    done = run(*make(*steps.split(), "score", "features"), folder=folder)
    assert done.returncode == 0, done.stdout
    return Machines(folder, done.stdout)


@pytest.mark.slow
@pytest.mark.xdist_group("machines")
def test_the_steps_of_the_page_lead_to_a_promoted_model_with_features_of_every_table(machines: Machines) -> None:
    assert "ok  features.sql: 4 looked-up columns, as in the contract" in machines.output
    assert re.search(r"=+ \d+ passed in ", machines.output), machines.output
    assert "is deployed in local" in machines.output
    with duckdb.connect() as connection:
        scores = str(next(machines.folder.glob("storage/scores/local/*/scores.parquet")))
        (found,) = connection.execute(
            "SELECT count(*), count(DISTINCT machine) FROM read_parquet(?)", [scores]
        ).fetchall()
    assert found == (50, 50)


@pytest.mark.slow
@pytest.mark.xdist_group("machines")
def test_without_one_of_the_tables_the_tests_of_the_data_are_skipped_and_name_it(machines: Machines) -> None:
    path = machines.folder / "data/readings.csv"
    hidden = path.rename(path.with_suffix(".hidden"))
    try:
        done = run(".venv/bin/pytest", "-q", "-rs", "tests/test_data.py", folder=machines.folder)
        smoke = run(*make("smoke"), folder=machines.folder)
    finally:
        hidden.rename(path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"a table is missing: \S+/readings\.csv is missing", done.stdout), done.stdout
    assert "passed" not in done.stdout
    assert (smoke.returncode, "The tables are not available" in smoke.stdout) == (0, True)


@pytest.mark.slow
@pytest.mark.xdist_group("machines")
def test_the_generated_tests_find_features_that_do_not_fit_the_tables(machines: Machines) -> None:
    machines.edit(
        "features.sql",
        SQL.replace("INNER JOIN machines", "LEFT JOIN machines").replace("= machines.machine", "= machines.type"),
    )
    try:
        done = run(".venv/bin/pytest", "-q", "tests/test_data.py", folder=machines.folder)
    finally:
        machines.edit("features.sql", SQL)
    assert done.returncode == 1
    assert "the completed rows: type is null in" in done.stdout


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield one machine, and a spine of one row at the start of 2025-03-03."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE machines AS SELECT 'm' AS machine, 'mill' AS type, DATE '2025-03-01' AS built")
        connection.execute("CREATE TABLE readings (machine VARCHAR, time TIMESTAMP, celsius DOUBLE)")
        connection.execute("CREATE TABLE spine AS SELECT 'm' AS machine, epoch(DATE '2025-03-03')::BIGINT AS ts")
        yield connection


@pytest.mark.parametrize(
    ("time", "counted"),
    [("03-02 23:59:59", 1), ("03-03 00:00:00", 0), ("02-24 00:00:00", 1), ("02-23 23:59:59", 0)],
)
def test_the_features_of_the_page_use_readings_of_the_week_before(
    connection: duckdb.DuckDBPyConnection, time: str, counted: int
) -> None:
    connection.execute("INSERT INTO readings VALUES ('m', ?, 71.5)", [f"2025-{time}"])
    ((_, _, kind, age, count, hottest),) = connection.execute(SQL).fetchall()
    assert (kind, age, count, hottest) == ("mill", 2.0, counted, 71.5 if counted else None)


def test_the_readme_and_the_page_use_the_same_command_and_names() -> None:
    assert f"`make {COMMAND}`" in README
    columns = [each.target.id for each in ast.parse(re.sub("^    ", "", FIELDS, flags=re.MULTILINE)).body]  # type: ignore[attr-defined]
    assert all(re.search(rf"\b{name},?$", SQL, re.MULTILINE) for name in columns)

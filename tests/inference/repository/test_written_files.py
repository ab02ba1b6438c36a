"""`looseleaf contract infer` in a rendered repository: what it writes, keeps and rejects."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lifecycle import settings
from looseleaf.contract import prose
from looseleaf.contract.texts import TEXTS
from looseleaf.snapshot import git
from support.inference import written
from support.inferred_repository import COLUMNS, RANDOM, ROWS, Run, everything, released
from support.rendering import TEMPLATE, run, tool


def test_inference_writes_the_files_of_the_table_and_nothing_else(repository: Path, contract: Run, table: Path) -> None:
    before = everything(repository)
    code, output = contract(table)
    assert code == 0, output
    after = everything(repository)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {
        *("src/model/contract.py", "src/model/data.py", "src/model/features.sql", "contract.json"),
        *("README.md", "docs/agreement.md", "docs/contract-report.md", "notebooks/first_look.ipynb"),
        *(f"tests/test_{name}.py" for name in ("behaviour", "data", "gates", "features", "notebook")),
        *("tests/conftest.py", "config/base.yaml", "config/local.yaml"),
    }
    assert not (repository / "src/model/features.sql").exists()
    assert [column.name for column in released(repository).request] == ["customer_id", "signal", "city", "spend"]
    assert "make check test train promote score" in output


def test_the_terminal_and_the_report_agree(repository: Path, contract: Run, table: Path) -> None:
    _, output = contract(table)
    page = (repository / "docs/contract-report.md").read_text(encoding="utf-8")
    for words in ("customer_id is different in every row", "a stable hash of customer_id", "300 rows"):
        assert words in output
        assert words in page
    assert "make contract DATA=data/table.csv LABEL=churn" in page


def test_no_row_reaches_git_and_no_copy_is_made(repository: Path, contract: Run, table: Path) -> None:
    contract(table)
    git("add", "--all", folder=repository)
    assert "secret-" not in git("diff", "--cached", folder=repository)
    assert (repository / "data/table.csv").is_symlink()
    assert (repository / "data/table.csv").samefile(table)
    assert not git("ls-files", "data", folder=repository)


def test_a_file_in_the_data_folder_is_read_where_it_is(repository: Path, contract: Run, tmp_path: Path) -> None:
    (repository / "data/raw").mkdir(parents=True)
    path = written(repository / "data/raw", COLUMNS)
    assert contract(path)[0] == 0
    assert '"raw/table.csv",' in (repository / "src/model/data.py").read_text(encoding="utf-8")


def test_nothing_is_written_through_a_linked_data_folder(
    repository: Path, contract: Run, table: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (repository / "data").symlink_to(shared)
    before = everything(repository)
    code, output = contract(table)
    assert code == 1
    assert f"data is a link to {shared}, and nothing is written there" in output
    assert (everything(repository), [*shared.iterdir()]) == (before, [])
    there = written(shared, COLUMNS)
    assert contract(repository / "data" / there.name)[0] == 0
    assert [*shared.iterdir()] == [there]


def test_a_file_that_git_would_commit_is_reported(repository: Path, contract: Run) -> None:
    assert "git would commit table.csv" in contract(written(repository, COLUMNS))[1]


def test_a_table_in_another_encoding_is_declared_and_stays_as_it_is(
    repository: Path, contract: Run, tmp_path: Path
) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(written(tmp_path, COLUMNS).read_text(encoding="utf-8").replace("Köln", "€").encode("cp1252"))
    code, output = contract(path)
    assert code == 0, output
    assert "the encoding was taken to be cp1252" in output
    assert 'encoding="cp1252"' in (repository / "src/model/data.py").read_text(encoding="utf-8")
    assert (repository / "data/old.csv").read_bytes() == path.read_bytes()


def test_code_is_linted_and_formatted_whatever_the_names(repository: Path, contract: Run, tmp_path: Path) -> None:
    odd = {
        'a "quote" and a very long name ' * 8: COLUMNS["signal"],
        "триада": COLUMNS["city"],
        "\\": [1, 2, 3] * 100,
    }
    code, output = contract(written(tmp_path, COLUMNS | odd))
    assert code == 0, output
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run([tool("ruff"), *words], cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# --- Edited files -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["src/model/contract.py", "src/model/data.py", "src/model/features.sql"])
def test_an_edited_file_is_refused_and_nothing_is_written(
    repository: Path, contract: Run, table: Path, name: str
) -> None:
    with (repository / name).open("a") as file:
        file.write("-- mine\n" if name.endswith("sql") else "# mine\n")
    before = everything(repository)
    code, output = contract(table)
    assert code == 1
    assert name in output
    assert "FORCE=1" in output
    assert everything(repository) == before
    assert not (repository / "data").exists()


def test_force_replaces_an_edited_file_and_names_the_copy(repository: Path, contract: Run, table: Path) -> None:
    path = repository / "src/model/data.py"
    path.write_text("# mine\n")
    code, output = contract(table, "churn", "--force")
    assert code == 0, output
    assert "src/model/data.py was edited: its backup is data.py.bak1" in output
    assert path.with_name("data.py.bak1").read_text() == "# mine\n"
    path.write_text("# mine again\n")
    contract(table, "churn", "--force")
    assert path.with_name("data.py.bak2").read_text() == "# mine again\n"


@pytest.mark.parametrize("name", ["tests/test_behaviour.py", "src/model/estimator.py", "notebooks/first_look.ipynb"])
def test_an_edited_file_that_the_contract_does_not_need_is_kept(
    repository: Path, contract: Run, table: Path, name: str
) -> None:
    (repository / name).write_text("# mine\n")
    code, output = contract(table, "spend")
    assert code == 0, output
    assert (repository / name).read_text() == "# mine\n"
    assert f"{name} was edited and is unchanged" in output
    contract(table, "spend")
    assert (repository / name).read_text() == "# mine\n"


def test_text_that_a_user_added_to_the_readme_stays(repository: Path, contract: Run, table: Path) -> None:
    readme = repository / "README.md"
    mine = readme.read_text(encoding="utf-8").replace("## Score everyone", "## Mine\n\nOurs.\n\n## Score everyone")
    readme.write_text(mine, encoding="utf-8")
    for label in ("churn", "spend"):
        assert contract(table, label)[0] == 0
        now = readme.read_text(encoding="utf-8")
        assert "## Mine\n\nOurs.\n" in now
    assert "c-00890" not in now


# --- The pages of the sample ------------------------------------------------------------------------------------------
def test_the_template_contains_every_passage_that_is_replaced(render: Callable[..., Path]) -> None:
    sections = prose.sections((render() / "README.md").read_text(encoding="utf-8"))
    for passage in prose.PASSAGES:
        assert any(passage in body for body in sections.values()), passage
    assert prose.SAMPLE_SENTENCE.search(sections[""])
    estimator = (TEMPLATE / "src/model/estimator.py").read_text(encoding="utf-8")
    for passage in TEXTS["to_regression"]:
        assert passage in estimator


@pytest.mark.parametrize("label", ["churn", "spend", "city"])
def test_no_file_mentions_the_sample_any_more(repository: Path, contract: Run, table: Path, label: str) -> None:
    assert contract(table, label)[0] == 0
    words = ("meal box", "c-00890", "discount", "customers leave", "visits_30d", "churned", "*churns*", "complaint")
    paths = [path for path in repository.rglob("*") if path.suffix in (".md", ".py", ".ipynb", ".json")]
    for path in (each for each in paths if not {"lifecycle", ".venv"} & set(each.relative_to(repository).parts)):
        text = path.read_text(encoding="utf-8").replace("customers who are about to leave", "")
        for example in ('WHY="better on late complaints"', 'WHY="support reports wrong predictions"'):
            text = text.replace(example, "")
        for word in words:
            assert word not in text, f"{word} in {path}"


def test_the_estimator_follows_the_task_in_both_directions(repository: Path, contract: Run, table: Path) -> None:
    path = repository / "src/model/estimator.py"
    classes = path.read_text(encoding="utf-8")
    contract(table, "spend")
    number = path.read_text(encoding="utf-8")
    assert "HistGradientBoostingRegressor(random_state=seed)" in number
    assert "Classifier" not in number
    assert "LogisticRegression" not in number
    contract(table, "churn")
    assert path.read_text(encoding="utf-8") == classes


def test_pytest_collects_the_written_tests(repository: Path, contract: Run, table: Path) -> None:
    """A parameter that its test function lacks stops the collection."""
    assert contract(table)[0] == 0
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    done = run(*command, folder=repository, PYTHONPATH=os.pathsep.join([str(repository / "src"), *sys.path]))
    assert done.returncode == 0, done.stdout
    for name in ("behaviour", "data", "gates", "notebook"):
        assert f"tests/test_{name}.py::" in done.stdout


def test_a_wide_table_shows_its_request_as_a_file(repository: Path, contract: Run, tmp_path: Path) -> None:
    wide = COLUMNS | {f"c{at}": list(RANDOM.normal(size=ROWS).round(2)) for at in range(50)}
    assert contract(written(tmp_path, wide))[0] == 0
    assert "-d @docs/example-request.json" in (repository / "README.md").read_text(encoding="utf-8")
    request = json.loads((repository / "docs/example-request.json").read_text(encoding="utf-8"))
    assert request.keys() == {column.name for column in released(repository).request}


@pytest.mark.parametrize(
    ("rows", "share", "min_rows"), [(5000, 0.2, 200), (1000, 0.25, 200), (569, 0.4, 121), (50, 0.4, 10)]
)
def test_a_small_table_holds_out_more_and_lowers_the_gate_in_local_only(
    repository: Path, contract: Run, tmp_path: Path, rows: int, share: float, min_rows: int
) -> None:
    x = RANDOM.normal(size=rows)
    code, output = contract(
        written(tmp_path, {"x": list(x), "churn": list(np.where(x + RANDOM.normal(size=rows) > 0, "yes", "no"))}),
        "churn",
    )
    assert code == 0, output
    for environment, expected in (("local", min_rows), ("staging", 200), ("production", 200)):
        found = settings.load(repository, environment, {}).settings
        assert (found.train.holdout, found.gate.min_rows) == (share, expected)
    assert ("config/local.yaml" in output) == (min_rows < 200)


def test_a_larger_table_takes_the_gate_back_to_its_default(repository: Path, contract: Run, tmp_path: Path) -> None:
    pristine = (repository / "config/base.yaml").read_bytes()
    contract(written(tmp_path, {name: values[:60] for name, values in COLUMNS.items()}))
    assert (repository / "config/local.yaml").exists()
    contract(written(tmp_path, {name: [*values] * 9 for name, values in COLUMNS.items()}))
    assert not (repository / "config/local.yaml").exists()
    assert (repository / "config/base.yaml").read_bytes() == pristine

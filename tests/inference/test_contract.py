"""`looseleaf contract infer` in a rendered repository: what it writes, what it leaves alone, what it refuses."""

import errno
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifecycle import settings
from lifecycle.contract.schema import Contract
from lifecycle.sample import generate
from looseleaf import cli
from looseleaf.contract import files, infer, prose, texts
from looseleaf.snapshot import git
from support.inference import written
from support.rendering import TEMPLATE, Template, tool

ROWS = 300
RANDOM = np.random.default_rng(0)
SIGNAL = RANDOM.normal(size=ROWS).round(3)
COLUMNS: dict[str, list[Any]] = {
    "customer_id": [f"secret-{at}" for at in range(ROWS)],
    "signal": list(SIGNAL),
    "city": [("Aix", "Bonn", "Köln")[at % 3] for at in range(ROWS)],
    "churn": [("no", "yes")[int(each)] for each in SIGNAL + RANDOM.normal(size=ROWS) > 0],
    "spend": list((SIGNAL * 3 + RANDOM.normal(size=ROWS) + 20).round(2)),
}

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def repository(template: Template, tmp_path: Path) -> Path:
    """A rendered repository whose environment holds nothing but ruff, committed."""
    folder = template.copy(tmp_path / "project")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/ruff").symlink_to(tool("ruff"))
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message=first", folder=folder)
    return folder


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file outside of the repository."""
    return written(tmp_path, COLUMNS)


@pytest.fixture
def contract(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`contract(FILE, LABEL, *options)` in the repository: the exit code, and all that was said."""
    monkeypatch.chdir(repository)

    def run(path: Path, label: str | None = "churn", *options: str) -> tuple[int, str]:
        named = ["--label", label] if label else []
        code = cli.main(["contract", "infer", "--data", str(path), *named, *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def everything(folder: Path) -> dict[str, bytes]:
    """Every file of the repository, with .git and the environment left out."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: content for name, content in names.items() if not name.startswith((".git/", ".venv/"))}


def released(repository: Path) -> Contract:
    return Contract.from_json((repository / "contract.json").read_bytes())


def test_it_writes_the_repository_of_the_table_and_nothing_else(repository: Path, contract: Run, table: Path) -> None:
    before = everything(repository)
    code, said = contract(table)
    assert code == 0, said
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
    assert "make check test train promote score" in said


def test_what_it_says_stands_in_the_report_too(repository: Path, contract: Run, table: Path) -> None:
    _, said = contract(table)
    page = (repository / "docs/contract-report.md").read_text(encoding="utf-8")
    for words in ("customer_id is different in every row", "a stable hash of customer_id", "300 rows"):
        assert words in said
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
    assert 'FILE = "raw/table.csv"' in (repository / "src/model/data.py").read_text(encoding="utf-8")


def test_a_file_that_git_would_commit_is_told(repository: Path, contract: Run) -> None:
    assert "git would commit it" in contract(written(repository, COLUMNS))[1]


def test_an_encoding_that_duckdb_does_not_know_is_rewritten_in_the_data_folder(
    repository: Path, contract: Run, tmp_path: Path
) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes(written(tmp_path, COLUMNS).read_text(encoding="utf-8").replace("Köln", "€").encode("cp1252"))
    code, said = contract(path)
    assert code == 0, said
    assert "rewritten in UTF-8" in said
    assert "€" in (repository / "data/old.utf8.csv").read_text(encoding="utf-8")


def test_code_is_linted_and_formatted_whatever_the_names(repository: Path, contract: Run, tmp_path: Path) -> None:
    odd = {
        'a "quote" and a very long name ' * 8: COLUMNS["signal"],
        "триада": COLUMNS["city"],
        "\\": [1, 2, 3] * 100,
    }
    code, said = contract(written(tmp_path, COLUMNS | odd))
    assert code == 0, said
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run([tool("ruff"), *words], cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# --- What somebody has written ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["src/model/contract.py", "src/model/data.py", "src/model/features.sql"])
def test_an_edited_file_is_refused_and_nothing_is_written(
    repository: Path, contract: Run, table: Path, name: str
) -> None:
    with (repository / name).open("a") as file:
        file.write("-- mine\n" if name.endswith("sql") else "# mine\n")
    before = everything(repository)
    code, said = contract(table)
    assert code == 1
    assert name in said
    assert "FORCE=1" in said
    assert everything(repository) == before
    assert not (repository / "data").exists()


def test_force_replaces_an_edited_file_and_names_the_copy(repository: Path, contract: Run, table: Path) -> None:
    path = repository / "src/model/data.py"
    path.write_text("# mine\n")
    code, said = contract(table, "churn", "--force")
    assert code == 0, said
    assert "src/model/data.py was edited: the old one is data.py.bak1" in said
    assert path.with_name("data.py.bak1").read_text() == "# mine\n"
    path.write_text("# mine again\n")
    contract(table, "churn", "--force")
    assert path.with_name("data.py.bak2").read_text() == "# mine again\n"


@pytest.mark.parametrize("name", ["tests/test_behaviour.py", "src/model/estimator.py", "notebooks/first_look.ipynb"])
def test_a_file_that_the_contract_does_not_need_is_left_as_it_was_edited(
    repository: Path, contract: Run, table: Path, name: str
) -> None:
    (repository / name).write_text("# mine\n")
    code, said = contract(table, "spend")
    assert code == 0, said
    assert (repository / name).read_text() == "# mine\n"
    assert f"{name} was edited and is left as it is" in said
    contract(table, "spend")
    assert (repository / name).read_text() == "# mine\n"


def test_what_was_written_into_the_readme_stays(repository: Path, contract: Run, table: Path) -> None:
    readme = repository / "README.md"
    mine = readme.read_text(encoding="utf-8").replace("## Score everyone", "## Mine\n\nOurs.\n\n## Score everyone")
    readme.write_text(mine, encoding="utf-8")
    for label in ("churn", "spend"):
        assert contract(table, label)[0] == 0
        now = readme.read_text(encoding="utf-8")
        assert "## Mine\n\nOurs.\n" in now
    assert "c-00890" not in now


# --- The pages of the sample ------------------------------------------------------------------------------------------
def test_every_passage_that_is_replaced_stands_in_the_template() -> None:
    readme = (TEMPLATE / "README.md.jinja").read_text(encoding="utf-8")
    agreement = (TEMPLATE / "docs/agreement.md.jinja").read_text(encoding="utf-8")
    estimator = (TEMPLATE / "src/model/estimator.py").read_text(encoding="utf-8")
    for passage in (prose.ABOUT_SAMPLE, *(old for old, _ in prose.WHERE), *prose.OLD):
        assert passage in readme, passage
    for passage in prose.ERRORS:
        assert passage in agreement
    for passage, _ in texts.TO_NUMBER:
        assert passage in estimator
    assert set(infer.sections(readme)) >= prose.REWRITTEN


@pytest.mark.parametrize("label", ["churn", "spend", "city"])
def test_nothing_speaks_of_the_sample_any_more(repository: Path, contract: Run, table: Path, label: str) -> None:
    assert contract(table, label)[0] == 0
    words = ("meal box", "c-00890", "discount", "customers leave", "visits_30d", "churned", "*churns*", "complaint")
    paths = [path for path in repository.rglob("*") if path.suffix in (".md", ".py", ".ipynb", ".json")]
    for path in (each for each in paths if not {"lifecycle", ".venv"} & set(each.relative_to(repository).parts)):
        text = path.read_text(encoding="utf-8").replace("customers who are about to leave", "")
        text = text.replace('WHY="better on late complaints"', "").replace('WHY="support reports odd answers"', "")
        for word in words:
            assert word not in text, f"{word} in {path}"


def test_the_estimator_follows_the_answer_there_and_back(repository: Path, contract: Run, table: Path) -> None:
    path = repository / "src/model/estimator.py"
    classes = path.read_text(encoding="utf-8")
    contract(table, "spend")
    number = path.read_text(encoding="utf-8")
    assert "HistGradientBoostingRegressor(random_state=seed)" in number
    assert "Classifier" not in number
    assert "LogisticRegression" not in number
    contract(table, "churn")
    assert path.read_text(encoding="utf-8") == classes


def test_a_wide_table_shows_its_request_as_a_file(repository: Path, contract: Run, tmp_path: Path) -> None:
    wide = COLUMNS | {f"c{at}": list(RANDOM.normal(size=ROWS).round(2)) for at in range(50)}
    assert contract(written(tmp_path, wide))[0] == 0
    assert "-d @docs/example-request.json" in (repository / "README.md").read_text(encoding="utf-8")
    sent = json.loads((repository / "docs/example-request.json").read_text(encoding="utf-8"))
    assert sent.keys() == {column.name for column in released(repository).request}


@pytest.mark.parametrize(
    ("rows", "share", "fewest"), [(5000, 0.2, 200), (1000, 0.25, 200), (569, 0.4, 121), (50, 0.4, 10)]
)
def test_a_small_table_holds_out_more_and_lowers_the_gate_in_local_only(
    repository: Path, contract: Run, tmp_path: Path, rows: int, share: float, fewest: int
) -> None:
    x = RANDOM.normal(size=rows)
    code, said = contract(
        written(tmp_path, {"x": list(x), "churn": list(np.where(x + RANDOM.normal(size=rows) > 0, "yes", "no"))}),
        "churn",
    )
    assert code == 0, said
    for environment, expected in (("local", fewest), ("staging", 200), ("production", 200)):
        found = settings.load(repository, environment, {}).settings
        assert (found.train.holdout, found.gate.min_rows) == (share, expected)
    assert ("config/local.yaml" in said) == (fewest < 200)


def test_a_larger_table_takes_the_gate_back_to_its_default(repository: Path, contract: Run, tmp_path: Path) -> None:
    pristine = (repository / "config/base.yaml").read_bytes()
    contract(written(tmp_path, {name: values[:60] for name, values in COLUMNS.items()}))
    assert (repository / "config/local.yaml").exists()
    contract(written(tmp_path, {name: [*values] * 9 for name, values in COLUMNS.items()}))
    assert not (repository / "config/local.yaml").exists()
    assert (repository / "config/base.yaml").read_bytes() == pristine


# --- The sample's data and models -------------------------------------------------------------------------------------
def trained(repository: Path, contract_json: bytes) -> Path:
    """A bundle in the storage, as far as it matters here."""
    bundle = repository / "storage/bundles/20260101T000000-00000000"
    bundle.mkdir(parents=True)
    (bundle / "contract.json").write_bytes(contract_json)
    return bundle


def test_what_was_learnt_from_the_sample_goes_with_it(repository: Path, contract: Run, table: Path) -> None:
    trained(repository, (repository / "contract.json").read_bytes())
    generate.write(repository / "data")
    code, said = contract(table)
    assert code == 0, said
    assert "what was trained on the sample is removed: bundles" in said
    assert not (repository / "storage").exists()
    assert [path.name for path in (repository / "data").iterdir()] == ["table.csv"]


def test_what_is_not_a_jobs_in_the_storage_is_never_removed(repository: Path, contract: Run, table: Path) -> None:
    (repository / "config/base.yaml").write_text("storage: .\n")
    trained(repository, (repository / "contract.json").read_bytes()).rename(repository / "20260101T000000-00000000")
    (repository / "bundles").mkdir()
    (repository / "20260101T000000-00000000").rename(repository / "bundles/20260101T000000-00000000")
    code, said = contract(table)
    assert code == 0, said
    assert (repository / "bundles").exists()
    assert (repository / "README.md").exists()


def test_tables_that_only_have_the_names_of_the_samples_stay(repository: Path, contract: Run, table: Path) -> None:
    (repository / "data").mkdir()
    for name in ("customers", "events", "labels"):
        written(repository / "data", COLUMNS, f"{name}.parquet")
    for path, count in ((table, 4), (repository / "data/customers.parquet", 4)):
        code, said = contract(path)
        assert code == 0, said
        assert len(list((repository / "data").iterdir())) == count


def test_an_own_storage_without_a_bundle_stays(repository: Path, contract: Run, table: Path) -> None:
    (repository / "storage/features").mkdir(parents=True)
    assert contract(table)[0] == 0
    assert (repository / "storage/features").is_dir()


def test_what_was_learnt_from_something_else_stays(repository: Path, contract: Run, table: Path) -> None:
    bundle = trained(repository, b"{}")
    (repository / "data").mkdir()
    (repository / "data/mine.parquet").touch()
    code, said = contract(table)
    assert code == 0, said
    assert "is kept: not all in it was trained on the sample" in said
    assert bundle.exists()
    assert (repository / "data/mine.parquet").exists()


# --- Changing one's mind ----------------------------------------------------------------------------------------------
def test_the_same_table_again_changes_nothing(repository: Path, contract: Run, table: Path) -> None:
    contract(table)
    before = everything(repository)
    assert contract(table)[0] == 0
    assert everything(repository) == before
    assert "nothing changes" in contract(table, "churn", "--diff")[1]


def test_a_difference_is_shown_without_being_written(repository: Path, contract: Run, table: Path) -> None:
    contract(table)
    before = everything(repository)
    more = written(table.parent, COLUMNS | {"city": [None, *COLUMNS["city"][1:]]}, "more.csv")
    code, said = contract(more, "churn", "--diff")
    assert code == 0
    assert "compatible: callers of version 1 can go on" in said
    assert "city: nullable False → True" in said
    assert everything(repository) == before


def test_a_compatible_change_keeps_the_version_and_a_breaking_one_raises_it(
    repository: Path, contract: Run, table: Path
) -> None:
    contract(table)
    written(table.parent, COLUMNS | {"city": [None, *COLUMNS["city"][1:]]})
    assert "compatible" in contract(table)[1]
    assert released(repository).version == 1
    written(table.parent, COLUMNS | {"age": list(range(ROWS))[::-1]})
    assert "the new request field age is required" in contract(table, "churn", "--keep", "age")[1]
    assert released(repository).version == 2
    assert "VERSION = 2" in (repository / "src/model/contract.py").read_text(encoding="utf-8")


# --- Nothing half-written ---------------------------------------------------------------------------------------------
def test_a_full_disk_leaves_everything_as_it_was(
    repository: Path, contract: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(repository)
    put, calls = files.write_atomically, []

    def failing(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        put(path, content)

    monkeypatch.setattr(files, "write_atomically", failing)
    code, said = contract(table)
    assert code == 1
    assert "The disk is full" in said
    assert everything(repository) == before
    assert not list((repository / "data").iterdir())


def test_another_file_of_that_name_in_the_data_folder_is_left_alone(
    repository: Path, contract: Run, table: Path
) -> None:
    (repository / "data").mkdir()
    (repository / "data/table.csv").write_text("mine\n")
    before = everything(repository)
    code, said = contract(table)
    assert code == 1
    assert "is another file of that name" in said
    assert everything(repository) == before


@pytest.mark.parametrize("defect", ["no,such\n", ""])
def test_a_bad_file_changes_nothing(repository: Path, contract: Run, table: Path, defect: str) -> None:
    table.write_text(defect)
    before = everything(repository)
    code, said = contract(table)
    assert code == 1
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert everything(repository) == before


def test_without_a_label_in_a_pipe_the_columns_are_named(contract: Run, table: Path) -> None:
    code, said = contract(table, None)
    assert code == 1
    assert "LABEL is missing" in said
    assert "churn" in said


def test_a_copy_whose_template_is_gone_says_where_it_looked(repository: Path, contract: Run, table: Path) -> None:
    answers = repository / ".copier-answers.yml"
    answers.write_text("_src_path: git+file:///nowhere/at/all\n_commit: v1.0.0\n")
    code, said = contract(table)
    assert code == 1
    assert "LOOSELEAF_SOURCE" in said


def test_ctrl_c_writes_nothing(repository: Path, contract: Run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(infer, "decide", interrupted)
    before = everything(repository)
    code, said = contract(table)
    assert code == 130
    assert "nothing was written" in said
    assert everything(repository) == before


def test_outside_of_a_repository_it_says_so(
    contract: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = contract(table)
    assert code == 1
    assert "holds no src/model/contract.py" in said

"""The command writes readable code that passes the repository's checks, or only the report."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lifecycle.errors import LifecycleError
from looseleaf import cli
from looseleaf.contract.changes import digest
from looseleaf.lift import command as lifting
from looseleaf.lift import report
from support import notebooks
from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT
from support.rendering import ROOT


@pytest.fixture
def repository(render: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a rendered repository, the current folder, with the environment of the template."""
    folder = tmp_path / "repository"
    subprocess.run(["cp", "-r", str(render()), str(folder)], check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    monkeypatch.chdir(folder)
    # test_repository.py runs the repository's own test of the lift.
    monkeypatch.setattr(lifting, "compare", lambda *_: [])
    return folder


def test_a_lifted_notebook_passes_lint_and_formatting_and_is_described(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebooks.write(tmp_path / "work", READ, "%matplotlib inline", MEAN, SEX, SPLIT, FIT, PREDICT, "1 / 0")
    assert cli.main(["lift", str(path), "--defaults"]) == 0
    shown = capsys.readouterr().out
    assert "Every comparison is equal" in shown
    assert "src/model/lifted.py" in shown
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([".venv/bin/ruff", *command, "src"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    text = (repository / "docs/lift-report.md").read_text()
    assert "| `age_mean` | value | 3, 1 | `34.036" in text
    assert "| 8 | none | fails: ZeroDivisionError |" in text
    assert "cell 2: %matplotlib inline" in text
    assert "- Used: age, fare, sex\n" in text
    assert "- Label: survived\n" in text
    page = (repository / "docs/lift-report.html").read_text()
    assert "learned(&#34;age_mean&#34;" in page


def test_a_lift_that_is_not_verified_writes_only_the_report_which_the_next_one_replaces(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leaking = SPLIT.replace('"sex"]', '"sex", "luck"]')
    luck = 'df["luck"] = df["survived"] * df["fare"]'
    path = notebooks.write(tmp_path / "work", READ, MEAN, SEX, luck, leaking, FIT, PREDICT)
    assert cli.main(["lift", str(path), "--defaults"]) == 1
    assert not (repository / "src/model/lifted.py").exists()
    shown, page = capsys.readouterr().out, (repository / "docs/lift-report.md").read_text()
    assert "Not every comparison is equal" in page
    # Values of rows are shown in the terminal, and not in the report, which is committed.
    assert " instead of " in shown
    assert " instead of " not in page
    notebooks.write(tmp_path / "notes", READ, MEAN, SEX, SPLIT, FIT, PREDICT)
    monkeypatch.setenv("HOME", str(tmp_path))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifting, "compare", stop)
    assert cli.main(["lift", "~/notes/notebook.ipynb", "--defaults"]) == 130
    assert "the files are written" in capsys.readouterr().err
    assert "Every comparison is equal" in (repository / "docs/lift-report.md").read_text()


def test_a_dry_run_writes_only_the_report(repository: Path, tmp_path: Path) -> None:
    path = notebooks.write(tmp_path / "work", READ, MEAN, SEX, SPLIT, FIT, PREDICT)
    before = (repository / "src/model/contract.py").read_bytes()
    assert cli.main(["lift", str(path), "--defaults", "--dry-run"]) == 0
    assert "Every comparison is equal" in (repository / "docs/lift-report.md").read_text()
    assert not (repository / "src/model/lifted.py").exists()
    assert (repository / "src/model/contract.py").read_bytes() == before


def test_an_error_names_what_is_wrong_and_writes_nothing(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lift", "missing.ipynb"]) == 1
    assert "missing.ipynb is not a file" in capsys.readouterr().err
    path = notebooks.write(tmp_path / "work", READ)
    assert cli.main(["lift", str(path), "--kernel", "nowhere"]) == 1
    assert "there is no Python or kernel 'nowhere'" in capsys.readouterr().err
    assert not (repository / "docs/lift-report.md").exists()


@pytest.mark.parametrize("different", [3, 30])
def test_how_much_rows_differ_is_recorded_and_most_of_them_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, different: int
) -> None:
    facts, page = tmp_path / "tests/lifted.json", tmp_path / "docs/contract-report.md"
    facts.parent.mkdir()
    facts.write_text(json.dumps({"different": 0, "largest": 0.0}))
    page.parent.mkdir()
    page.write_text(f"| `tests/lifted.json` | {digest(facts.read_bytes())} |\n")
    failed = f"E   AssertionError: {different} of 40 rows differ from the author's, by at most 0.25\n"
    outputs = [SimpleNamespace(returncode=1, stdout=failed), SimpleNamespace(returncode=0, stdout="4 passed")]
    monkeypatch.setattr(lifting, "_tested", lambda _: outputs.pop(0))
    expected = f"with the versions here, {different} of 40 rows differ from the author's, by at most 0.25"
    if different == 30:
        with pytest.raises(LifecycleError, match=expected):
            lifting.compare(tmp_path, has_seed=True)
    else:
        assert lifting.compare(tmp_path, has_seed=True)[0].startswith(expected)
    assert json.loads(facts.read_text()) == {"different": different, "largest": 0.25}
    # Only this file is written, and the next lift does not take it for an edited one.
    assert page.read_text() == f"| `tests/lifted.json` | {digest(facts.read_bytes())} |\n"
    assert len(list(tmp_path.rglob("*.*"))) == 2


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("KeyError: 'Smith, J', in the line: df[x]", "KeyError (not shown), in the line: df[x]"),
        ("OutOfBoundsDatetime: 31.12.9999", "OutOfBoundsDatetime (not shown)"),
        (
            "the first that differs is number 4, 0.4 instead of 0.6, because column age of the model's input is 34.0 "
            "instead of 35.0; cell 3 draws",
            "the first that differs is number 4 (not shown), because column age of the model's input is (not shown); "
            "cell 3 draws",
        ),
    ],
)
def test_the_report_of_a_difference_has_no_value_of_a_row(error: str, shown: str) -> None:
    assert re.sub(report.OF_ROW, " (not shown)", error) == shown


def test_the_report_shows_only_single_numbers_of_what_was_learned() -> None:
    assert re.fullmatch(report.NUMBER, "-34.5e+2")
    assert not any(re.fullmatch(report.NUMBER, each) for each in ("'Smith'", "['C', 'Q']", " name\n0 Smith"))

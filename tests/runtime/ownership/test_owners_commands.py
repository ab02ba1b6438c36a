"""`lifecycle owners check`, `who` and `role` in a repository."""

import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from owners import examine, report

from lifecycle import cli
from lifecycle.errors import Refused
from support.owned import DAY, FILES, owners_text, repository

CLEAN = owners_text()
# The review is in the future whenever the test runs.
CURRENT = CLEAN.replace("2027-06-30", str(date.today() + timedelta(30)))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("owners", "check", text=…)` returns exit code, output and errors in a repository with that OWNERS."""
    repository(tmp_path)
    monkeypatch.chdir(tmp_path)

    def started(*words: str, text: str | None = None) -> tuple[int, str, str]:
        if text is not None:
            Path("OWNERS").write_text(text, encoding="utf-8")
        code = cli.main([*words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return started


def line_of(piece: str) -> int:
    return CLEAN[: CLEAN.rindex(piece)].count("\n") + 1


def test_a_correct_file_ends_with_0(run: Run) -> None:
    code, out, err = run("owners", "check", text=CURRENT)
    assert (code, err) == (0, "")
    assert out == "ok  owners: 12 filters, data-science, engineering, product\n"


def test_errors_are_printed_before_warnings_and_end_with_1(run: Run) -> None:
    text = CURRENT.replace('["cy"]', "[]").replace("^notebooks/:", "^notebook/:")
    code, _, err = run("owners", "check", text=text)
    assert code == 1
    kinds = [line.split(":")[0] for line in err.splitlines() if not line.startswith(" ")]
    assert kinds == ["error", "error", "warning", "error"]
    assert "OWNERS has 2 errors" in err.splitlines()[-2]


def test_warnings_alone_end_with_0(run: Run) -> None:
    code, out, err = run("owners", "check", text=CURRENT.replace('["cy"]', "[]"))
    assert code == 0
    assert f"warning: OWNERS:{line_of('product: &product')}: product has no owner yet" in err
    assert "before production" in out


def test_a_repository_without_owners_gets_a_warning(run: Run) -> None:
    Path("OWNERS").unlink()
    code, _, err = run("owners", "check")
    assert code == 0
    assert "warning: OWNERS: the file is missing" in err
    for words in (("derive",), ("who", "README.md"), ("role", "product")):
        code, _, err = run("owners", *words)
        assert code == 1
        assert "the file is missing" in err


def test_derive_reports_the_same_errors_as_check(run: Run) -> None:
    code, _, err = run("owners", "derive", text=CURRENT.replace('["cy"]', '["@cy"]'))
    assert code == 1
    assert err.startswith(f"error: OWNERS:{line_of('product: &product')}: x-ownership.roles.product.0: '@cy' is not a")
    assert "Write a handle without the @" in err
    assert err.endswith("  `uv run lifecycle owners check` shows everything.\n")


def test_who_and_role_read_the_file(run: Run) -> None:
    assert run("owners", "who", "src/model/data.py")[:2] == (0, f"ana  (OWNERS:{line_of('^src/')})\n")
    assert run("owners", "who", "./README.md")[:2] == (0, f"acme/eng  (OWNERS:{line_of('^[^/]')})\n")
    assert run("owners", "who", "platform/x.yaml")[0] == 1
    assert run("owners", "role", "engineering")[:2] == (0, "acme/eng  decides: roll-back\npeople: bo\n")
    code, _, err = run("owners", "role", "sales")
    assert code == 1
    assert "The roles are data-science, engineering, product." in err


@pytest.mark.parametrize("change", [("^notebooks/:", "^notebook/:"), ('["cy"]', '["@cy"]')])
def test_make_check_only_warns_about_a_file_without_a_version(run: Run, change: tuple[str, str]) -> None:
    old = CURRENT.replace("  version: 1\n", "").replace(*change)
    assert run("owners", "check", text=old)[0] == 1
    report(Path.cwd(), always=False)
    with pytest.raises(Refused, match=r"OWNERS has \d errors"):
        report(Path.cwd(), always=True)


def test_outside_git_filters_are_not_compared_with_files(tmp_path: Path) -> None:
    (tmp_path / "OWNERS").write_text(CLEAN, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "churn"\n', encoding="utf-8")
    assert examine(tmp_path, DAY).findings == []


def test_two_thousand_files_are_checked_in_less_than_a_second_of_cpu(tmp_path: Path) -> None:
    files = [f"src/part{n % 40}/deeper/module_{n}.py" for n in range(2_000)]
    text = CURRENT + "".join(f"  ^src/part{n}/deeper/:\n    approvers: *product\n" for n in range(40))
    root = repository(tmp_path, text, [*FILES, *files])
    subprocess.run(["git", "-C", root, "add", "--all"], check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "lifecycle", "owners", "check"], cwd=root, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "52 filters" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1

"""Pytest in a copy of a process that has imported the libraries: its own modules, variables, output and exit code."""

from pathlib import Path

import pytest

from support.forking import Forks

PROGRAM = """
import os, own

def test_it():
    print(os.environ["GIVEN"], own.VALUE, os.getcwd())
    assert own.VALUE == {expected}
"""


@pytest.fixture(scope="module")
def forks() -> Forks:
    return Forks()


@pytest.mark.parametrize(("expected", "code"), [("'new'", 0), ("'old'", 1), ("os.abort()", -6)])
def test_each_run_has_its_own_modules_output_and_exit_code(
    forks: Forks, tmp_path: Path, expected: str, code: int
) -> None:
    (tmp_path / "own.py").write_text("VALUE = 'new'\n")
    (tmp_path / "test_it.py").write_text(PROGRAM.format(expected=expected))
    arguments = ("-q", "-s", "-p", "no:cacheprovider", "test_it.py")
    done, output = forks.pytest(
        *arguments, folder=tmp_path, sources=[tmp_path], environment={"GIVEN": "a text"}, seconds=60
    )
    assert done == code
    assert f"a text new {tmp_path}" in output or code < 0

"""Every format of a notebook is read, and what is none, or not in Python 3, is refused with what to do."""

import json
import sys
from pathlib import Path

import pytest

from lifecycle.errors import LifecycleError
from looseleaf.lift import interpreter
from looseleaf.lift.author import trace
from looseleaf.lift.author.recorder import Recorder
from looseleaf.lift.interpreter import find
from looseleaf.lift.read import read
from support import notebooks


def test_magics_and_shell_lines_are_named_and_do_not_run(tmp_path: Path) -> None:
    path = notebooks.write(
        tmp_path,
        "%matplotlib inline\n!pip install x\nif True:\n    %time a = 1\ntext = '''\n%kept\n'''\nb = 7 \\\n  % 2\ndf?",
    )
    notebook = read(path)
    assert notebook.skipped == [
        "cell 1: %matplotlib inline",
        "cell 1: !pip install x",
        "cell 1: %time a = 1",
        "cell 1: df?",
    ]
    names: dict[str, object] = {}
    exec(notebook.cells[0].code, names)
    assert names["text"] == "\n%kept\n"
    assert names["b"] == 1


def test_a_cell_of_another_language_is_named_and_a_timed_cell_runs(tmp_path: Path) -> None:
    notebook = read(notebooks.write(tmp_path, "%%bash\nls", "%%time\nx = 1\n;"))
    assert notebook.skipped == ["cell 1: %%bash", "cell 2: %%time"]
    assert [cell.code.strip() for cell in notebook.cells] == ["", "x = 1"]


def test_the_percent_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "notebook.py"
    path.write_text(
        "# ---\n# jupyter: {}\n# ---\n\n# %% [markdown]\n# Title\n\n"
        "# %%\n# %matplotlib inline\nx = 1\n\n# %% second\ny = 2\n"
    )
    notebook = read(path)
    assert [cell.code for cell in notebook.cells] == ["pass\nx = 1", "y = 2"]
    assert notebook.skipped == ["cell 1: %matplotlib inline"]


def test_marimo_is_read(tmp_path: Path) -> None:
    path = tmp_path / "notebook.py"
    path.write_text(
        "import marimo\napp = marimo.App()\n\n@app.cell\ndef _():\n    x = 1\n    return (x,)\n\n"
        "@app.cell\ndef _(x):\n    y = x\n    return\n"
    )
    assert [cell.code for cell in read(path).cells] == ["x = 1", "y = x"]


def test_an_old_file_of_version_3_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cell = {
        "cell_type": "code",
        "input": ["x = 1"],
        "outputs": [],
        "language": "python",
        "collapsed": False,
        "metadata": {},
    }
    path.write_text(
        json.dumps(
            {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [cell], "metadata": {}}]}
        )
    )
    assert [cell.code for cell in read(path).cells] == ["x = 1"]


@pytest.mark.parametrize(
    ("cells", "metadata", "problem"),
    [
        (
            ["x <- 1"],
            {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}},
            r"written in r\n  Only notebooks in Python can be lifted",
        ),
        (["print 'x'"], {}, r"cell 1 of notebook.ipynb is written in Python 2.*\n  Convert it with 2to3"),
        (["x = 1"], {"language_info": {"name": "python", "version": "2.7.1"}}, r"written in Python 2.*\n.*2to3"),
        ([], {}, "has no code"),
        (["!ls"], {}, "has no code"),
    ],
)
def test_what_cannot_be_lifted_is_refused(cells, metadata, problem: str, tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match=problem):
        read(notebooks.write(tmp_path, *cells, **metadata))


def test_large_outputs_are_not_read(tmp_path: Path) -> None:
    path = notebooks.write(tmp_path, "x = 1")
    content = json.loads(path.read_text())
    # Invalid, so that a reader that validates it would fail.
    content["cells"][1]["outputs"] = [{"output_type": "nonsense", "data": "x" * 1_000_000}]
    path.write_text(json.dumps(content))
    assert read(path).cells[0].code == "x = 1"


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text("not JSON")
    with pytest.raises(LifecycleError, match="is not a notebook"):
        read(path)


@pytest.mark.parametrize("content", [b"x = '\xe9'", b"import marimo\napp = marimo.App()\nx ="])
def test_a_file_that_is_no_python_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_bytes(content)
    with pytest.raises(LifecycleError, match="is not valid Python in UTF-8"):
        read(tmp_path / "broken.py")


def test_a_kernel_without_a_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kernels/old").mkdir(parents=True)
    (tmp_path / "kernels/old/kernel.json").write_text("{}")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    with pytest.raises(LifecycleError, match=r"kernel.json of the kernel 'old' is not valid"):
        find("old", tmp_path)


def test_a_python_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(sys.executable, tmp_path) == sys.executable
    monkeypatch.setattr(interpreter, "CHECK", interpreter.CHECK.replace("< (3, 8)", "< (99,)"))
    with pytest.raises(LifecycleError, match=r"cannot run the notebook: the lift needs Python 3\.8 or newer"):
        find(sys.executable, tmp_path)


def test_the_secrets_of_this_environment_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFECYCLE_API_KEY", "x")
    monkeypatch.setenv("COSIGN_PASSWORD", "x")
    started: list[dict[str, str]] = []

    def start(*_: object, env: dict[str, str], **__: object) -> None:
        started.append(env)
        raise OSError("stopped")

    monkeypatch.setattr(interpreter.subprocess, "Popen", start)
    with pytest.raises(OSError, match="stopped"):
        interpreter.Session("python")
    assert not {"LIFECYCLE_API_KEY", "COSIGN_PASSWORD"} & started[0].keys()


def test_an_alarm_between_two_statements_ends_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(value: object) -> None:
        raise trace.CellTimeout

    tracer = trace.Tracer(Recorder(None))
    monkeypatch.setattr(trace, "fingerprint", stop)
    tracer.run_cell(1, "a = 1\nb = a\nc = 3", 60)
    assert [each["error"] for each in tracer.facts] == ["", trace.TIMEOUT]
    assert tracer.facts[-1]["missing"] == ["b", "c"]

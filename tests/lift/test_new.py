"""`looseleaf lift NOTEBOOK --new DIR` leaves a repository with a verified lift, or none."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plumbum import local

from looseleaf import cli, new_repository
from looseleaf.lift.arguments import add_arguments
from looseleaf.new_repository import model_name
from looseleaf.snapshot import git
from support import notebooks
from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT
from support.rendering import ROOT, Template, questions, run, tool
from support.waiting import eventually

PAGE = (ROOT / "docs/lift.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (("Titanic_survival (2)", "", "x"), "titanic-survival-2"),
        (("03-churn", "", "x"), "churn"),
        (("Untitled", "Price (USD)", "x"), "price-usd"),
        (("2024", "1", "99"), "model"),
        (("a" * 39 + "-b-c", "", ""), "a" * 39),
    ],
)
def test_a_model_is_named_after_the_first_text_that_names_one(texts: tuple[str, ...], name: str) -> None:
    assert model_name(*texts) == name
    pattern = questions()["model_name"]["validator"].split("'")[3]
    assert re.fullmatch(pattern.replace("\\\\Z", ""), name)


def test_a_wrong_notebook_folder_or_template_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = notebooks.write(tmp_path / "work", READ)
    (tmp_path / "used").mkdir()
    monkeypatch.setenv("LOOSELEAF_SOURCE", str(tmp_path / "nowhere"))
    for given, new, problem in (
        (tmp_path / "missing.ipynb", "new", "missing.ipynb is not a file"),
        (path, "used", "used already exists"),
        (path, "new", "nowhere does not exist"),
    ):
        assert cli.main(["lift", str(given), "--new", str(tmp_path / new)]) == 1
        assert problem in capsys.readouterr().err
    assert cli.main(["lift", str(path), "--new", str(tmp_path / "new"), "--data", "none.csv"]) == 1
    assert "none.csv is not a file" in capsys.readouterr().err
    git("init", "--quiet", folder=tmp_path / "used")
    monkeypatch.setenv("LOOSELEAF_SOURCE", str(tmp_path / "used"))
    assert cli.main(["lift", str(path), "--new", str(tmp_path / "new")]) == 1
    assert "the template cannot be rendered (" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["used", "work"]


def test_without_an_environment_of_a_repository_the_way_on_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["lift", "notebook.ipynb"]) == 1
    assert (
        "not the environment of a rendered repository\n  Name a notebook, and a new folder with --new; in a rendered"
        in capsys.readouterr().err
    )


def test_a_token_in_the_address_is_not_recorded_and_a_reference_selects_the_commit(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git("rev-parse", "HEAD", folder=template.folder)
    address = "https://secret@git.example.org/looseleaf.git"
    # git fetches what has this address from the folder.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setitem(local.env, "GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    git("config", "--global", f"url.{template.folder.as_uri()}.insteadOf", address, folder=tmp_path)
    monkeypatch.setenv("LOOSELEAF_SOURCE", f"{address}@{commit}")
    assert new_repository._render(tmp_path / "new", "churn") == {"LOOSELEAF_SOURCE": f"{address}@{commit}"}
    recorded = (tmp_path / "new/.copier-answers.yml").read_text()
    assert "secret" not in recorded
    assert "_src_path: git+https://git.example.org/looseleaf.git\n" in recorded


def test_an_interruption_stops_every_process_before_the_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that stands for the notebook's would otherwise write on."""
    running, root = tmp_path / "running", tmp_path / "new"
    makefile = f"setup:\nlift:\n\t@sh -c 'echo $$$$ > {running}; while :; do sleep 0.1; done'\n"

    def render(folder: Path, name: str) -> dict[str, str]:
        folder.mkdir()
        (folder / "Makefile").write_text(makefile)
        return {}

    monkeypatch.setattr(new_repository, "_render", render)
    wait = subprocess.Popen.wait

    def interrupted(process: "subprocess.Popen[str]", timeout: float | None = None) -> int:
        if timeout is None:
            eventually(running.exists)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    notebook = notebooks.write(tmp_path / "work", READ)
    assert cli.main(["lift", str(notebook), "--new", str(root)]) == 130
    assert not root.exists()
    number = int(running.read_text())
    eventually(lambda: not is_alive(number))


def is_alive(number: int) -> bool:
    """Return whether a process exists that has not ended."""
    state = Path(f"/proc/{number}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("page", ["README.md", "docs/lift.md"])
def test_the_command_on_a_page_has_options_of_the_lift(page: str) -> None:
    [words] = re.findall(r"^uvx --from git\+\S+ looseleaf lift (.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    given = parser.parse_args(words.split())
    assert given.new == Path(given.notebook).stem


@pytest.mark.slow
def test_a_new_user_lifts_a_notebook_into_a_new_repository(template: Template, tmp_path: Path) -> None:
    [command] = re.findall(r"^uvx --from git\+\S+ (looseleaf lift \S+ --new \w+)$", PAGE, re.MULTILINE)
    command = ["uvx", "--quiet", "--from", template.url, *command.split(), "--defaults"]
    notebook = notebooks.write(tmp_path / "work", READ, MEAN, SEX, SPLIT, FIT).rename(tmp_path / "churn.ipynb")
    (tmp_path / "work/passengers.csv").rename(tmp_path / "passengers.csv")
    leak = 'df["luck"] = df["survived"] * df["fare"]'
    shell = {"HOME": str(tmp_path), "PATH": f"{os.environ['PATH']}:{sys.prefix}/bin", "UV_CACHE_DIR": cache()}

    def lift() -> "subprocess.CompletedProcess[str]":
        return run("sh", "-c", " ".join(command), folder=tmp_path, **shell)

    done = lift()
    assert done.returncode == 1, done.stdout
    assert "the notebook never calls predict()" in done.stdout
    assert sorted(each.name for each in tmp_path.iterdir() if each.suffix) == ["churn.ipynb", "passengers.csv"]
    assert not (tmp_path / "churn").exists()
    pages = {"churn-lift-report.md", "churn-lift-report.html"}
    for cells, code in (((SEX, leak, SPLIT.replace('"sex"]', '"sex", "luck"]')), 1), ((SEX, SPLIT), 0)):
        notebooks.write(tmp_path / "work", READ, MEAN, *cells, FIT, PREDICT).rename(notebook)
        done = lift()
        assert done.returncode == code, done.stdout
        assert pages <= {each.name for each in tmp_path.iterdir()}
        assert (tmp_path / "churn").exists() == (code == 0)
    assert "model_name: churn\n" in (tmp_path / "churn/.copier-answers.yml").read_text()
    assert "To be stated: which decision" in (tmp_path / "churn/README.md").read_text()
    done = run("make", "-s", "check", "train", folder=tmp_path / "churn", **shell)
    assert done.returncode == 0, done.stdout


def cache() -> str:
    """Return the folder of uv's cache, which is not below another HOME."""
    return subprocess.run([tool("uv"), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()

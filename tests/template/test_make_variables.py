"""The variables on make's command line reach the commands, and those that nothing uses are reported."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from looseleaf.snapshot import git
from support.rendering import run

Render = Callable[..., Path]


def test_arguments_with_quotes_reach_the_command_unchanged(render: Render, tmp_path: Path) -> None:
    """The text of WHY is one argument; variables that the shell exports are ignored, apart from ENVIRONMENT."""
    folder = shutil.copytree(render(), tmp_path / "project")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/lifecycle").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    (folder / ".venv/bin/lifecycle").chmod(0o755)
    why = """it's "better", it cost $500; rm -rf $(HOME) `x`"""
    exported = {"VERSION": "7", "THRESHOLD": "0.9", "WHY": "deploy", "DRIFT": "1", "OVERRIDE": "always"}
    done = run("make", "-s", "promote", "VERSION=3", f"WHY={why}", "THRESHOLD=0.2", folder=folder, **exported)
    assert done.stdout == f"<promote><--threshold><0.2><--why><{why}><--><3>"
    assert run("make", "-s", "promote", folder=folder, **exported).stdout == "<promote>"
    done = run("make", "-s", "promote", f"OVERRIDE={why}", folder=folder, **exported)
    assert done.stdout == f"<promote><--override><{why}>"
    assert run("make", "-s", "sample", folder=folder, **exported).stdout == "<sample>"
    assert run("make", "-s", "sample", "DRIFT=1", folder=folder).stdout == "<sample><--drift>"
    exported = {"ENVIRONMENT": "production"}
    assert run("make", "-s", "serve", folder=folder, **exported).stdout == "<serve><--environment><production>"
    done = run("make", "-s", "serve", "ENVIRONMENT=staging", folder=folder, **exported)
    assert done.stdout == "<serve><--environment><staging>"
    assert run("make", "-s", "serve", "ENVIRONMENT=", folder=folder, **exported).stdout == "<serve>"


def test_a_misspelt_variable_stops_an_update(render: Render, tmp_path: Path) -> None:
    folder = shutil.copytree(render(platform="kubernetes"), tmp_path / "project")
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("lifecycle", "python"):
        (folder / ".venv/bin" / name).write_text("#!/bin/sh\n")
        (folder / ".venv/bin" / name).chmod(0o755)
    known = ("make", "update", "ISOLATED=echo the command", "UV=uv")
    assert (
        "the command update --dry-run --to='1.2.3'" in run(*known, "-n", "DRY_RUN=1", "TO=1.2.3", folder=folder).stdout
    )
    for wrong in ("DRYRUN=1", "SETT=ci=gitlab", "COLOUR=red"):
        done = run(*known, wrong, folder=folder)
        assert done.returncode == 2
        assert f"make update has no variable {wrong.partition('=')[0]}: it has" in done.stdout
    # What the shell exports, and variables of other goals, are the team's own.
    assert run(*known, folder=folder, DRYRUN="1").returncode == 0
    (folder / "own.mk").write_text("own:\n\techo $(SHAPE)\n")
    with (folder / "Makefile").open("a") as file:
        file.write("include own.mk\n")
    given = ("COLOUR=red", "SHAPE=round", "REGISTRY_USER=ci", "LIFECYCLE_STORAGE=elsewhere")
    done = run("make", "owners", *given, folder=folder)
    assert done.returncode == 0
    assert re.findall(r"no goal uses (\w+)", done.stdout) == ["COLOUR"]


def test_a_bundle_without_a_file_names_the_variables(render: Render) -> None:
    done = run("make", "bundle", "RUN=Makefile", folder=render())
    assert done.returncode == 2
    assert "make bundle requires EXPORT=FILE, IMPORT=FILE, or SIGN=1 with VERSION=" in done.stdout


def test_the_report_of_make_test_is_no_file_of_a_repository_that_does_not_ignore_build(
    render: Render, tmp_path: Path
) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    # Releases before 0.3.0 did not ignore it.
    (folder / ".gitignore").write_text(".venv/\n")
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("lifecycle", "pytest"):
        (folder / ".venv/bin" / name).write_text("#!/bin/sh\ntouch build/tests.xml\n")
        (folder / ".venv/bin" / name).chmod(0o755)
    assert run("make", "test", folder=folder).returncode == 0
    assert (folder / "build/tests.xml").exists()
    assert git("status", "--porcelain", "--untracked-files", folder=folder).count("??") == 0

"""`lifecycle/docs/owners.md`: its example is valid, and its commands do in a render what the page says."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from lifecycle.ownership import DECISIONS, ROLES, Owners, examine
from lifecycle.training.train import train
from looseleaf.snapshot import git
from support.owned import DAY, PEOPLE, commit, owners_text
from support.rendering import ROOT, TEMPLATE, run
from support.teams import order_team, settings_in

PAGE = (TEMPLATE / "lifecycle/docs/owners.md").read_text(encoding="utf-8")
[EXAMPLE] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
BLOCKS = re.findall(r"```\n((?:make|lifecycle) .*?)```", PAGE, re.DOTALL)
FIRST, APPROVAL, THRESHOLD = (block.splitlines() for block in BLOCKS)
SOON = str(date.today() + timedelta(30))

Render = Callable[..., Path]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def call(render: Render, tmp_path: Path) -> Run:
    """Return `call("make check", by="cy")`, which runs a command in a trained render; others than ana use CI."""
    folder = shutil.copytree(render(owners="@ana, @acme/eng, @cy"), tmp_path / "churn")
    (folder / "OWNERS").write_text(owners_text().replace("2027-06-30", SOON), encoding="utf-8")
    page = folder / "docs/agreement.md"
    page.write_text(page.read_text(encoding="utf-8").replace("| |", "| filled |").replace("| |", "| filled |"))
    git("init", "--quiet", folder=folder)
    git("config", "user.email", "ana@example.org", folder=folder)
    commit(folder)
    sources = os.pathsep.join(map(str, (ROOT / "template/lifecycle/src", folder / "src")))
    command = folder / ".venv/bin/lifecycle"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nPYTHONPATH={sources} exec {sys.executable} -m lifecycle "$@"\n')
    command.chmod(0o755)
    train(order_team(), settings_in(folder), folder)

    def called(line: str, by: str = "ana") -> tuple[int, str]:
        host = {} if by == "ana" else {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": by}
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        done = run("sh", "-c", line, folder=folder, PATH=path, **host)
        return done.returncode, done.stdout

    return called


def test_the_example_of_the_page_has_no_findings() -> None:
    report = examine(EXAMPLE.encode(), ["src/model/data.py", "README.md"], DAY)
    assert report.findings == []
    assert report.owners is not None
    assert report.owners.behind("engineering") == ("bo",)


def test_the_commands_of_the_page_work(call: Run) -> None:
    derive, who, role = FIRST
    code, output = call(derive)
    assert code == 0, output
    assert ".github/CODEOWNERS is updated" in output
    assert "catalog-info.yaml is updated" in output
    assert "ok  owners: 12 filters" in output
    assert call(who)[1].startswith("ana  (OWNERS:")
    assert call(role) == (0, "cy  decides: promote, change-threshold, retire\n")


def test_the_steps_into_production_work_as_described(call: Run) -> None:
    for approve, promote, refused in (
        (*APPROVAL, "product decides promote and has not approved (cy)"),
        (*THRESHOLD, "product decides change-threshold and has not approved (cy)"),
    ):
        code, output = call(promote)
        assert code != 0
        assert refused in output
        code, output = call(approve, by="cy")
        assert code == 0, output
        assert "cy (from a CI variable; recorded, not verified) approves" in output
        code, output = call(promote)
        assert code == 0, output
        assert "in production" in output


@pytest.mark.parametrize("owners", ["nobody yet", "@ana", "@ana, @acme/eng, @cy"])
def test_a_render_passes_on_its_first_day_and_after_deriving(render: Render, tmp_path: Path, owners: str) -> None:
    folder = shutil.copytree(render(owners=owners), tmp_path / "churn")
    git("init", "--quiet", folder=folder)
    command = (sys.executable, "-m", "lifecycle", "owners")
    sources = str(ROOT / "template/lifecycle/src")
    for part in ("check", "derive", "check"):
        done = run(*command, part, folder=folder, PYTHONPATH=sources)
        assert done.returncode == 0, done.stdout
    assert "before production" in done.stdout
    assert (folder / "catalog-info.yaml").exists() == (owners != "nobody yet")


def test_the_page_names_every_role_and_key() -> None:
    for word in (*ROLES, *DECISIONS, *Owners.model_fields):
        assert word in PAGE, word
    assert len(PEOPLE) == len(ROLES)

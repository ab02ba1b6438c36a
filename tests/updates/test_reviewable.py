"""The request of an update has what its reviewer needs: tasks, checks with results, settings, changelog and files."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from looseleaf.update.report import Check, ChoiceChange, Offer, Report
from looseleaf.update.settings import defaults
from maintenance.manifest import write as write_manifest
from support.hosting import Api
from support.personas import commit
from support.proposals import WITHOUT_TOKEN, environment
from support.rendering import ROOT, Template, run

# Commands that take no time in place of those of a repository; the last line of each output is its result.
COMMANDS = """setup: ; @echo installed
check: ; @echo 0 findings
test: ; @echo "===== 12 passed in 0.01s ====="
"""
CHANGELOG = """# Changes

## Not released

Not yet.

## 9999.1.0 (2026-12-01)

The gate is stricter.

### What you do

- Read what the gate compares.
- (online) Give the service a key.

## 9999.0.1 (2026-11-01)

Known already.
"""
FORK = """# Our changes

## 9999.1.0.post1 (2026-12-02)

Our index.

### What you do

- Log in to our index.
"""


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.fixture
def fork(template: Template, tmp_path: Path) -> Template:
    """Return a fork with a release, and a later one of which something changes in each kind of file."""
    fork = Template(shutil.copytree(template.folder, tmp_path / "template"))
    (fork.folder / "template/lifecycle/lifecycle.mk").write_text(COMMANDS)
    write_manifest(fork.folder)
    fork.release("v9999.0.1")
    runtime = fork.folder / "template/lifecycle"
    (runtime / "docs/added.md").write_text("# Added\n")
    (runtime / "docs/monitoring.md").unlink()
    replace(
        runtime / "src/lifecycle/settings.py",
        "min_rows: int = Field(default=200,",
        "min_rows: int = Field(default=250,",
    )
    replace(runtime / "src/lifecycle/settings.py", "    holdout: float", "    folds: int = 5\n    holdout: float")
    replace(fork.folder / "template/config/base.yaml", "# Overrides", "# Newer: overrides")
    (fork.folder / "CHANGELOG.md").write_text(CHANGELOG)
    (fork.folder / "fork").mkdir(exist_ok=True)
    (fork.folder / "fork/CHANGELOG.md").write_text(FORK)
    write_manifest(fork.folder)
    fork.release("v9999.1.0.post1")
    return fork


def proposed_body(fork: Template, folder: Path, hub: Path, api: Api) -> str:
    """Return the text of the request that `looseleaf propose` opens for a repository of the older release."""
    git("init", "--quiet", folder=folder)
    commit(folder, "As rendered")
    with (folder / "OWNERS").open("a", encoding="utf-8") as owners:
        owners.write("# ours\n")
    commit(folder, "Ours")
    git("remote", "add", "origin", f"file://{hub}", folder=folder)
    git("push", "--quiet", "origin", "main", folder=folder)
    given = environment("github", api) | {"PYTHONPATH": str(ROOT / "hooks"), "NO_PROXY": "127.0.0.1"}
    for module in (("looseleaf.cli", "propose"), ("looseleaf.send",)):
        job = WITHOUT_TOKEN if "propose" in module else {}
        done = run(sys.executable, "-m", *module, folder=folder, **given | job)
        assert done.returncode == 0, done.stdout
    return str(api.open[0]["body"])


def sections(body: str) -> dict[str, list[str]]:
    """Return the lines of each section of a body by its title."""
    parts = re.split(r"^### (.*)$", body, flags=re.MULTILINE)
    return {title: text.strip().splitlines() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_the_request_has_everything_that_a_reviewer_needs(fork: Template, hub: Path, api: Api, tmp_path: Path) -> None:
    body = proposed_body(fork, fork.copy(tmp_path / "rendered", "v9999.0.1", usage=["batch"]), hub, api)
    head, found = body.splitlines(), sections(body)
    assert head[0] == "**Template 9999.0.1 → 9999.1.0.post1: safe: make setup, make check, make test have passed**"
    assert head[2] == (
        "Files of the template: 1 added, 3 changed, 1 removed. Your files: 0 changed, 1 offered, 1 edited by you."
    )
    assert found["What you do"] == [
        "- 9999.1.0: Read what the gate compares.",
        "- 9999.1.0.post1: Log in to our index.",
    ]
    assert found["Checked"] == [
        "- `make setup passed: installed`",
        "- `make check passed: 0 findings`",
        "- `make test passed: 12 passed in 0.01s`",
    ]
    assert found["Settings with another default"] == ["- `gate.min_rows: 200 → 250`"]
    assert found["New settings"] == ["- `train.folds: 5`"]
    assert found["Added"] == ["- `lifecycle/docs/added.md`"]
    assert found["Removed"] == ["- `lifecycle/docs/monitoring.md`"]
    assert found["Edited by you, not changed"] == ["- `OWNERS`"]
    offered = next(lines for title, lines in found.items() if title.startswith("Offered"))
    assert offered == ["- `config/base.yaml` (yours is as it was rendered)"]
    assert "The gate is stricter." in found["Changes in 9999.1.0"]
    assert "Our index." in found["Changes in 9999.1.0.post1"]
    assert "Known already." not in body
    assert "Not yet." not in body


LONG = [f"lifecycle/src/lifecycle/a_folder_with_a_long_name/module_{number}.py" for number in range(2000)]


def test_a_long_request_keeps_its_form_within_the_limit_of_the_hosts() -> None:
    offers = [Offer("README.md", "unedited")]
    report = Report(
        "1", "2", added=LONG[:30], changed=LONG, offers=offers, tasks=["1: Read."], changelog=[("2", "New.")]
    )
    body = report.markdown()
    assert len(body) <= 65_536
    assert body.count("<details>") == body.count("</details>") == 2
    found = sections(body)
    assert "<details><summary>30 entries</summary>" in found["Added"]
    assert found["Changed"] == ["Too long for this page: `make update DRY_RUN=1 FORMAT=json` has all of it."]
    assert "- 1: Read." in found["What you do"]
    assert "New." in found["Changes in 2"]
    assert json.loads(report.json())["changed"] == LONG


def test_names_in_a_request_are_not_formatted_and_notify_no_person() -> None:
    body = Report("1", "2", added=["a/__init__.py"], choices=[ChoiceChange("owners", "", "@ana", "given")]).markdown()
    assert "- `a/__init__.py`" in body
    assert "- `owners: '' → '@ana'`" in body


def test_the_verdict_is_stated_after_the_checks() -> None:
    for checks, verdict, safe in (
        (None, "no decision is needed; make setup, make check, make test run with it before", None),
        ([Check("make test", True, "1 passed")], "safe: make setup, make check, make test have passed", True),
        ([Check("make test", False, "1 failed")], "NOT safe: make test fails; nothing is changed", False),
    ):
        report = Report("1", "2", changed=["lifecycle/a.py"], checks=checks)
        for text in (report.text(), report.markdown(), json.loads(report.json())["rendered"]):
            assert verdict in text
            assert (re.search(r"\bsafe\b", text) is None) == (checks is None)
        assert json.loads(report.json())["safe"] is safe


@pytest.mark.parametrize("source", [b"", b"class Settings", b"x = 1\n", b"class Gate:\n    rows: int = 1\n"])
def test_settings_of_another_form_are_not_compared(source: bytes) -> None:
    assert defaults(source) == {}


def test_the_default_of_every_setting_is_read_from_its_source() -> None:
    from lifecycle.settings import Settings, _leaves

    source = (ROOT / "template/lifecycle/src/lifecycle/settings.py").read_bytes()
    expected = {name: str(value) for name, value in _leaves(Settings().model_dump())}
    assert {name: str(eval(text)) for name, text in defaults(source).items()} == expected


def test_the_zone_is_collapsed_in_reviews(fork: Template, tmp_path: Path) -> None:
    folder = fork.copy(tmp_path / "rendered")
    git("init", "--quiet", folder=folder)
    names = ("lifecycle/lifecycle.mk", "lifecycle/src/lifecycle/settings.py", "src/model/data.py")
    for attribute in ("linguist-generated", "gitlab-generated"):
        shown = git("check-attr", attribute, "--", *names, folder=folder)
        assert [line.split()[-1] for line in shown.splitlines()] == ["set", "set", "unspecified"]

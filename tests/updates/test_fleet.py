"""`looseleaf fleet`: the table of many repositories and the plan of their update."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from looseleaf import cli
from looseleaf.fleet import command, examine
from looseleaf.fleet.examine import Row
from looseleaf.remote import BRANCH
from looseleaf.snapshot import git
from looseleaf.update.source import ANSWERS_FILE
from support import fleets
from support.fleets import Fleet, rendered, run, tiny
from support.personas import EDITED, commit, edited_by, editing, editing_the_template, keep_quick_tests
from support.rendering import RELEASE, ROOT, SOURCES, Template, start
from support.rendering import run as processed
from support.waiting import eventually

PAGE = ROOT / "docs/fleet.md"
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{SOURCES}"}
pytestmark = pytest.mark.xdist_group("fleet")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Return the template with its recorded releases, and the working tree as the newest."""
    return Template.with_history(ROOT, tmp_path_factory.mktemp("template") / "looseleaf")


@pytest.fixture(scope="module")
def fleet(history: Template, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Return a fleet with one repository for each result of a plan, and one with uncommitted changes."""
    made = Fleet(history, tmp_path_factory.mktemp("fleet"))
    original = made.add("v0.2.0")
    made.add("v0.1.0", editing_the_template)
    current = made.add(RELEASE, editing_the_template)
    (made.copy(current, "dirty", "refused") / "README.md").write_text("Not committed.\n")
    broken = made.copy(original, "broken", "error")
    (broken / ANSWERS_FILE).write_text("_commit: [\n")
    commit(broken, "Break the answers file")
    return made


def test_a_plan_has_a_result_for_each_repository_and_a_second_one_uses_the_results_of_the_first(
    fleet: Fleet, tmp_path: Path
) -> None:
    code, rows = run("plan", "--file", fleet.list(), state=tmp_path / "state")
    assert {name: row["result"] for name, row in rows.items()} == fleet.results
    assert code == 1, "one repository is broken"
    refused = rows["v0.1.0-editing_the_template"]
    assert refused["notes"] == [f"{EDITED} (edited): Set it in config/: make config lists every setting."]
    assert (refused["version"], refused["to"], refused["edited"]) == ("0.1.0", "9999.0.0", [EDITED])
    assert rows["dirty"]["notes"] == ["uncommitted changes (1): commit or stash them"]
    assert (fleet.folder / "dirty/README.md").read_text() == "Not committed.\n"
    assert f"{ANSWERS_FILE} cannot be read" in rows["broken"]["notes"][0]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "state/results").iterdir()}
    assert len(before) == 4
    _, again = run("plan", "--file", fleet.list(), state=tmp_path / "state")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "state/results").iterdir()} == before
    assert [name for name, row in again.items() if not row["reused"]] == ["broken"]
    assert {name: row["result"] for name, row in again.items()} == fleet.results


def test_status_shows_version_age_edits_review_deployment_and_verdict(fleet: Fleet, tmp_path: Path) -> None:
    project = shutil.copytree(fleet.folder / f"{RELEASE}-editing_the_template", tmp_path / "churn")
    owners = (project / "OWNERS").read_text().replace("  #   review_by: YYYY-MM-DD", "  review_by: 2027-06-30")
    (project / "OWNERS").write_text(owners)
    (project / "config/production.yaml").write_text("storage: elsewhere\n")
    commit(project, "Plan a review")
    for name, text in {
        "storage/deployments/local.json": '{"format": 1, "live": {"version": "20261101T000000-aaaaaaaa"}}',
        "storage/reports/local/monitoring.json": "half a fi",
        "elsewhere/deployments/production.json": '{"format": 1, "live": {"version": "20261001T000000-bbbbbbbb"}}',
        "elsewhere/reports/production/monitoring.json": '{"verdict": "watch"}',
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    code, rows = run("status", project, state=tmp_path / "state")
    row = rows["churn"]
    assert (code, row["result"], row["version"], row["age_days"]) == (0, "read", "9999.0.0", 0), row
    assert (row["review_by"], row["edited"]) == ("2027-06-30", [EDITED])
    deployed = {"production": "20261001T000000-bbbbbbbb", "staging": "", "local": "20261101T000000-aaaaaaaa"}
    assert row["deployed"] == deployed
    assert row["monitoring"] == {"production": "watch", "staging": "", "local": ""}


ROWS = [
    Row("churn", "/churn", "refused", ["a | b <c>", "second"], "0.2.0", 5, ["x.py"], "2027-06-30", uncommitted=1),
    Row("fraud", "/fraud", "applies", version="0.1.0", age_days=9, edited=[], deployed={"local": "v1", "staging": ""}),
]


def test_the_table_is_formatted_as_text_markdown_html_and_json() -> None:
    text = command.formatted(ROWS, "plan", "text")
    assert re.search(r"^churn +0\.2\.0 +5 +1 +2027-06-30 +\N{EN DASH} +\N{EN DASH} +refused$", text, re.MULTILINE), text
    assert re.search(r"^fraud +0\.1\.0 +9 +0 +\N{EN DASH} +v1 \(local\) +\N{EN DASH} +applies$", text, re.MULTILINE), (
        text
    )
    assert "Repositories: 2 (1 refused, 1 applies)." in text
    assert command.NOT_CHECKED in text
    assert command.NOT_CHECKED not in command.formatted(ROWS, "status", "text")
    markdown = command.formatted(ROWS, "plan", "markdown")
    assert re.search(r"^\| churn +\| a \\\| b <c> +\|$", markdown, re.MULTILINE), markdown
    page = command.formatted(ROWS, "plan", "html")
    assert page.startswith("<!doctype html>")
    assert "a | b &lt;c&gt;" in page
    assert json.loads(command.formatted(ROWS, "plan", "json"))["repositories"][0]["edited"] == ["x.py"]


def test_a_killed_process_is_a_note_in_the_row_and_the_others_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tiny(tmp_path / "template")
    for name in ("one", "two"):
        rendered(template, tmp_path / name)
    usual = examine.fill

    def fill(row: Row, *given: object) -> None:
        if row.name == "one":
            os.kill(os.getpid(), signal.SIGKILL)
        usual(row, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "fill", fill)
    code, rows = run("plan", tmp_path / "one", tmp_path / "two", state=tmp_path / "state")
    assert (code, rows["one"]["result"], rows["two"]["result"]) == (1, "error", "applies")
    assert rows["one"]["notes"] == ["its process was killed"]


def test_two_processes_at_the_same_time_do_no_work_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, usual = rendered(tiny(tmp_path / "template"), tmp_path / "churn"), examine._tried

    def tried(*given: Any) -> dict[str, Any]:
        with (tmp_path / "log").open("a", encoding="utf-8") as log:
            log.write("worked\n")
        return usual(*given)

    monkeypatch.setattr(examine, "_tried", tried)
    code, rows = run("plan", f"one={project}", f"two={project}", "--jobs", "2", state=tmp_path / "state")
    assert (code, sorted(row["reused"] for row in rows.values())) == (0, [False, True])
    assert (tmp_path / "log").read_text() == "worked\n"


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r"^looseleaf fleet (.*?)(?: +#.*)?$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"status", "plan", "update"} == {line.split()[0] for line in commands}
    template = tiny(tmp_path / "template")
    for name in ("churn", "fraud"):
        rendered(template, tmp_path / name)
    (tmp_path / "repositories.txt").write_text("churn\nfraud\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(examine, "UPDATE", (sys.executable, "-c", fleets.UPDATE))
    for line in commands:
        # test_fleet_branches.py pushes, to a host of its own.
        arguments = ["--state", str(tmp_path / "state"), *line.partition("--push")[0].split()]
        assert cli.main(["fleet", *arguments]) == 0, line
    assert re.match(r"\| repository +\| version", (tmp_path / "build/plan.md").read_text())


def test_ctrl_c_ends_every_process_and_leaves_no_scratch_folder(fleet: Fleet, tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = (sys.executable, "-m", "support.fleets", str(tmp_path / "log"), "plan", "--file", str(fleet.list()))
    options = ("--state", str(state), "--jobs", "1")
    process = start(*command, *options, folder=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE)
    eventually((tmp_path / "log").exists)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr
    # The end of the output: every process that could write to it has ended.
    output = process.stderr.read()
    assert process.wait() == 130
    assert output.endswith("\nstopped; the same command continues with the results so far\n")
    assert "Process Fork" not in output
    assert {path.name for path in state.iterdir()} <= {"clones", "locks", "results"}


@pytest.mark.slow
@pytest.mark.proof
def test_fifty_repositories_are_planned_although_the_first_run_is_killed(history: Template, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    many = fleets.fleet_of_many(history, tmp_path / "many", 50)
    assert len(many.results) == 50
    code, rows = run("status", "--file", many.list(), state=tmp_path / "state")
    errors = {name for name, row in rows.items() if row["result"] == "error"}
    assert (code, errors) == (1, {"broken", "foreign", "left"})
    assert sum(row["cpu_seconds"] for row in rows.values()) < 60
    assert rows["fork"]["version"] == "9999.0.0.post1"

    log, state, output = tmp_path / "log", tmp_path / "killed", tmp_path / "plan.json"
    program = (sys.executable, "-m", "support.fleets", str(log))
    options = ("plan", "--file", str(many.list()), "--state", str(state), "--output", str(output), "--format", "json")
    given = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL}
    first = start(*program, *options, folder=tmp_path, **given)
    eventually(lambda: len([*state.glob("results/*")]) >= 10)
    first.kill()
    first.wait()
    second = start(*program, *options, folder=tmp_path, **given)
    assert second.wait() == 1
    rows = {row["name"]: row for row in json.loads(output.read_text(encoding="utf-8"))["repositories"]}
    assert {name: row["result"] for name, row in rows.items()} == many.results
    worked = log.read_text().splitlines()
    assert sorted(worked) == sorted({*many.results} - {"broken", "foreign", "left"}), "no work is done twice"
    assert sum(row["reused"] for row in rows.values()) >= 10
    assert {path.name for path in state.iterdir()} == {"clones", "locks", "results"}, "no scratch folder is left"


@pytest.mark.slow
def test_an_update_is_left_on_a_branch_after_the_checks_of_the_repository(history: Template, tmp_path: Path) -> None:
    project = edited_by(history.copy(tmp_path / "churn", "v0.2.0"), editing)
    keep_quick_tests(project)
    failing = fleets.copy(project, tmp_path / "failing")
    (failing / "tests/test_ours.py").write_text("def test_ours() -> None:\n    raise ValueError\n")
    commit(failing, "A test that fails")
    command = (sys.executable, "-m", "looseleaf.cli", "fleet", "update", str(project), str(failing))
    options = ("--state", str(tmp_path / "state"), "--format", "json", "--output", str(tmp_path / "rows.json"))
    done = processed(*command, *options, folder=tmp_path, PYTHONPATH=SOURCES)
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["repositories"]
    assert {row["name"]: row["result"] for row in rows} == {"churn": "updated", "failing": "error"}, done.stdout
    (notes,) = [" ".join(row["notes"]) for row in rows if row["name"] == "failing"]
    assert "FAILED tests/test_ours.py::test_ours - ValueError" in notes
    assert "make test also fails without it" in notes
    assert not git("branch", "--list", BRANCH, folder=failing)
    assert f"_commit: {RELEASE}" in git("show", f"{BRANCH}:{ANSWERS_FILE}", folder=project)


@pytest.mark.slow
def test_a_release_is_rehearsed_on_real_repositories_before_it_is_made(history: Template, tmp_path: Path) -> None:
    fleet = Fleet(history, tmp_path / "fleet")
    fleet.add("v0.2.0")
    fleet.add("v0.1.0", editing_the_template)
    output = tmp_path / "plan.json"
    arguments = f"ARGS=--state {tmp_path / 'state'} --format json --output {output}"
    done = processed("make", "rehearse", f"FILE={fleet.list()}", arguments, folder=ROOT)
    assert "Error 3" in done.stdout, done.stdout
    rows = {row["name"]: row for row in json.loads(output.read_text(encoding="utf-8"))["repositories"]}
    assert {name: row["result"] for name, row in rows.items()} == fleet.results
    assert all(git("rev-parse", "HEAD", folder=ROOT).startswith(row["to"][:7]) for row in rows.values()), rows

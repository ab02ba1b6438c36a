"""What every render promises, over all pairs of answers, and how far an answer and an update reach."""

import ast
import itertools
import json
import re
import shutil
import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

from looseleaf.snapshot import git
from support.rendering import ROOT, TEMPLATE, Template, copier_yml, files, is_templates, questions, run, tool

Render = Callable[..., Path]

TRIED: dict[str, list[Any]] = {
    "usage": [["online", "batch"], ["online"], ["batch"]],
    "model_name": ["churn", "a", "card-fraud-2", "x" * 40, "null"],
    "decision": [
        "Whom do we call this week?",
        "Wer \"kündigt\" \\n, und wer 'bleibt'? 😀 Ω <b> & $(HOME) `x` #",
        "Which {{ things }} {% if %} # {% raw %} {# do we keep #}?",
        "x" * 200,
        ": - [a, *b, &c, !d, %e, @f, |",
    ],
    "owners": ["nobody yet", "@ana", "@ana, @acme/bo , @cy.d_e-f", "@on, @1e3, @null", "@a,@b,@c"],
    "ci": ["github", "gitlab"],
}
SHAPES = [{"usage": usage, "ci": ci} for ci in TRIED["ci"] for usage in TRIED["usage"]]
# Each value of each question meets each value of every other: five rows of five, shifted, and the shapes in turn.
ROWS: list[dict[str, Any]] = [
    {"model_name": name, "decision": decision, "owners": TRIED["owners"][(first + second) % 5]}
    | SHAPES[(first + 2 * second) % 6]
    for (first, name), (second, decision) in itertools.product(
        enumerate(TRIED["model_name"]), enumerate(TRIED["decision"])
    )
]
# The files in which an answer may be read. The answers file names them all.
REACH = {
    "model_name": {"pyproject.toml", "README.md"},
    "decision": {"pyproject.toml", "README.md", "docs/agreement.md"},
    "owners": {"OWNERS"},
    "usage": {"README.md", "docs/agreement.md"},
    "ci": {"README.md"},
}
# The files that are there for an answer; all others are in every render.
OWNED = {
    "online": (
        "lifecycle/online.mk",
        "lifecycle/deploy/",
        "lifecycle/src/lifecycle/serving/",
        "lifecycle/src/lifecycle/client/",
    ),
    "batch": (
        "lifecycle/batch.mk",
        "lifecycle/docs/scoring.md",
        "lifecycle/src/lifecycle/scoring/",
    ),
    "github": (".github/",),
    "gitlab": (".gitlab-ci.yml", "lifecycle/ci/"),
}
ANSWERS_FILE = ".copier-answers.yml"
WORKFLOWS = [".github/workflows/lifecycle.yml", ".github/workflows/lifecycle-update.yml"]

every_pair = pytest.mark.parametrize(
    "answers", [pytest.param(row, id=str(n), marks=pytest.mark.xdist_group(f"row {n}")) for n, row in enumerate(ROWS)]
)


def test_the_rows_hold_every_pair_of_answers() -> None:
    for one, other in itertools.combinations(TRIED, 2):
        met = {(str(row[one]), str(row[other])) for row in ROWS}
        assert met == set(itertools.product(map(str, TRIED[one]), map(str, TRIED[other])))
    assert [*TRIED] == [*questions()]


@every_pair
def test_a_file_is_there_when_its_answer_was_given(render: Render, answers: dict[str, Any]) -> None:
    everything = files(render()) | files(render(ci="gitlab"))
    given = (*answers["usage"], answers["ci"])
    missing = tuple(start for answer, starts in OWNED.items() if answer not in given for start in starts)
    assert {*files(render(**answers))} == {name for name in everything if not name.startswith(missing)}
    for start in itertools.chain(*OWNED.values()):
        assert any(name.startswith(start) for name in everything), start


@pytest.mark.parametrize("answers", SHAPES, ids=str)
def test_nothing_of_the_team_speaks_of_what_is_not_there(render: Render, answers: dict[str, Any]) -> None:
    words = {
        "online": r"make (serve|features|client)|/predict\b|curl|\bservice\b",
        "batch": r"make score|storage/scores|train promote score|\bbatch",
        "github": r"\.github|GitHub",
        "gitlab": r"gitlab|GitLab",
    }
    given = (*answers["usage"], answers["ci"])
    for name, content in files(render(**answers)).items():
        # These two name a file of either host, and mean nothing where it is not.
        if not is_templates(name) and name not in ("OWNERS", "renovate.json"):
            for answer in words.keys() - {*given}:
                found = re.search(words[answer], content.decode("utf-8"), re.IGNORECASE)
                assert not found, f"{name}: {found}"


@every_pair
def test_every_file_parses(render: Render, answers: dict[str, Any]) -> None:
    parsers: dict[str, Callable[[str], Any]] = {
        ".py": ast.parse,
        ".toml": tomllib.loads,
        ".json": json.loads,
        ".ipynb": json.loads,
        ".yml": yaml.safe_load,
        ".yaml": yaml.safe_load,
        "OWNERS": yaml.safe_load,
    }
    for name, content in files(render(**answers)).items():
        parse = parsers.get(Path(name).suffix or name)
        if parse:
            parse(content.decode("utf-8"))


@every_pair
def test_each_answer_arrives_as_it_was_given(render: Render, answers: dict[str, Any]) -> None:
    folder = render(**answers)
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["name"], project["description"]) == (f"{answers['model_name']}-model", answers["decision"])
    remembered = yaml.safe_load((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    assert {name: remembered[name] for name in answers} == answers
    assert remembered.keys() == {*answers, "_commit", "_src_path"}
    assert answers["decision"] in (folder / "docs/agreement.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("owners", "roles"),
    [
        ("nobody yet", ([], [], [])),
        ("@ana", (["ana"], ["ana"], ["ana"])),
        ("@ana, @acme/bo , @cy.d_e-f", (["ana"], ["acme/bo"], ["cy.d_e-f"])),
        ("@on, @1e3, @null", (["on"], ["1e3"], ["null"])),
    ],
)
def test_the_owners_arrive_in_their_roles(render: Render, owners: str, roles: tuple[list[str], ...]) -> None:
    told = yaml.safe_load((render(owners=owners) / "OWNERS").read_text(encoding="utf-8"))["x-ownership"]["roles"]
    assert told == dict(zip(("data-science", "engineering", "product"), roles, strict=True))


@every_pair
def test_nothing_is_left_unrendered(render: Render, answers: dict[str, Any]) -> None:
    folder = render(**answers)
    for path in TEMPLATE.rglob("*.jinja"):
        name = path.relative_to(TEMPLATE).as_posix().removesuffix(".jinja")
        name = ANSWERS_FILE if "answers_file" in name else name
        if not (folder / name).exists():
            continue
        text = (folder / name).read_text(encoding="utf-8")
        quoted = json.dumps(answers["decision"], ensure_ascii=False)[1:-1]
        for given in (quoted, answers["decision"]):
            text = text.replace(given, "")
        text = re.sub(r"\$\{\{.*?\}\}", "", text)  # a workflow's own expressions
        # YAML may fold the sentence, so the answers file is read in the test above instead.
        assert name == ANSWERS_FILE or not re.search(r"\{\{|\{%|\{#", text), name


@every_pair
def test_formatting_a_render_changes_nothing(render: Render, answers: dict[str, Any]) -> None:
    for command in (["check"], ["format", "--check"]):
        done = run(tool("ruff"), *command, "--no-cache", ".", folder=render(**answers))
        assert done.returncode == 0, done.stdout
        assert "No Python files" not in done.stdout


def test_two_renders_are_equal_byte_for_byte(template: Template, render: Render, tmp_path: Path) -> None:
    again = template.copy(tmp_path / "again")
    assert files(again) == files(render())


@pytest.mark.parametrize("question", TRIED)
def test_an_answer_changes_only_what_it_owns(render: Render, question: str) -> None:
    default = files(render())
    reached = set()
    for value in TRIED[question][1:]:
        other = files(render(**{question: value}))
        changed = {name for name in default.keys() & other.keys() if default[name] != other[name]}
        assert changed <= {*REACH[question], ANSWERS_FILE}, value
        reached |= changed
    assert reached == {*REACH[question], ANSWERS_FILE}


def test_a_render_is_small(render: Render) -> None:
    names = files(render())
    assert len(names) <= 180
    assert len([path for path in render().iterdir() if not path.name.startswith(".")]) <= 15
    assert max(len(content) for content in names.values()) < 60_000


def test_only_scripts_are_executable(render: Render) -> None:
    for path in render().rglob("*"):
        if path.is_file() and path.stat().st_mode & stat.S_IXUSR:
            assert path.read_bytes().startswith(b"#!"), path


def test_what_a_run_makes_is_ignored_and_what_is_rendered_is_not(render: Render, tmp_path: Path) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    git("init", "--quiet", folder=folder)
    made = [
        "data/events.parquet",
        "storage/audit.jsonl",
        ".venv/bin/python",
        ".uv/bin/uv",
        "src/model/__pycache__/a.pyc",
    ]
    for name in made:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    git("add", "--all", folder=folder)
    assert {*git("ls-files", folder=folder).splitlines()} == {*files(render())}


ONLINE = "features serve client year"


@pytest.mark.parametrize(
    ("usage", "verbs"),
    [(["online", "batch"], f"{ONLINE} score"), (["online"], ONLINE), (["batch"], "score")],
    ids=str,
)
def test_make_lists_every_verb_of_the_usage_with_a_line(render: Render, usage: list[str], verbs: str) -> None:
    done = run("make", folder=render(usage=usage))
    assert done.returncode == 0
    listed = re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)
    pages = [(render() / f"lifecycle/{name}.mk").read_text(encoding="utf-8") for name in ("lifecycle", "loop")]
    phony = [re.findall(r"^\.PHONY: (.*)$", page, re.MULTILINE)[0] for page in pages]
    assert listed == " ".join([*phony, verbs]).split()


@pytest.mark.parametrize(
    ("usage", "verb", "answer"),
    [
        ("batch", "serve", "online"),
        ("batch", "client", "online"),
        ("batch", "features", "online"),
        ("online", "score", "batch"),
    ],
)
def test_a_verb_that_the_usage_left_out_says_how_it_comes_back(
    template: Template, tmp_path: Path, usage: str, verb: str, answer: str
) -> None:
    folder = template.copy(tmp_path / "project", usage=[usage])
    # An update leaves what Python had compiled.
    (folder / "lifecycle/src/lifecycle/serving/__pycache__").mkdir(parents=True, exist_ok=True)
    (folder / ".venv/bin").mkdir(parents=True)
    command = folder / ".venv/bin/lifecycle"
    command.write_text(f'#!/bin/sh\nexec {tool("python")} -m lifecycle "$@"\n')
    command.chmod(0o755)
    there = {"PYTHONPATH": str(folder / "lifecycle/src")}
    done = run("make", verb, folder=folder, **there)
    assert done.returncode == 2
    assert f"there is no {verb} here: this repository was rendered without {answer}" in done.stdout
    assert "make update SET='usage=[online, batch]'" in done.stdout
    listed = run(str(command), "--help", folder=folder, **there).stdout
    assert not re.search(rf"^    {verb} ", listed, re.MULTILINE)
    assert re.search(r"^    promote ", listed, re.MULTILINE)


def test_smoke_goes_as_far_as_the_usage(render: Render, tmp_path: Path) -> None:
    for usage in TRIED["usage"]:
        folder = shutil.copytree(render(usage=usage), tmp_path / "-".join(usage))
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/lifecycle").write_text('#!/bin/sh\necho "<$1>"\n')
        (folder / ".venv/bin/lifecycle").chmod(0o755)
        told = re.findall(r"^<(\w+)>$", run("make", "smoke", folder=folder).stdout, re.MULTILINE)
        assert told == ["tables", "train", "promote", *(["score"] if "batch" in usage else [])]


def test_a_changed_answer_brings_and_takes_the_templates_files_by_an_update(template: Template, tmp_path: Path) -> None:
    folder = template.copy(tmp_path / "project")
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "First", folder=folder)
    before = teams(files(folder))
    new = {"usage": ["batch"], "ci": "gitlab"}
    copier.run_update(folder, data=new, defaults=True, quiet=True, unsafe=False, overwrite=True)
    assert teams(files(folder)) == before
    fresh = files(template.copy(tmp_path / "fresh", **new))
    assert {n: c for n, c in files(folder).items() if is_templates(n)} == {
        n: c for n, c in fresh.items() if is_templates(n)
    }


def test_a_words_quotes_reach_the_verb_unharmed(render: Render, tmp_path: Path) -> None:
    """What WHY holds is one argument, whatever is in it; what the shell exports is for somebody else."""
    folder = shutil.copytree(render(), tmp_path / "project")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/lifecycle").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    (folder / ".venv/bin/lifecycle").chmod(0o755)
    why = """it's "better", it cost $500; rm -rf $(HOME) `x`"""
    exported = {"ENVIRONMENT": "production", "VERSION": "7", "THRESHOLD": "0.9", "WHY": "deploy", "DRIFT": "1"}
    done = run("make", "-s", "promote", "VERSION=3", f"WHY={why}", "THRESHOLD=0.2", folder=folder, **exported)
    assert done.stdout == f"<promote><3><--threshold><0.2><--why><{why}>"
    assert run("make", "-s", "promote", folder=folder, **exported).stdout == "<promote>"
    assert run("make", "-s", "sample", folder=folder, **exported).stdout == "<sample>"
    assert run("make", "-s", "sample", "DRIFT=1", folder=folder).stdout == "<sample><--drift>"


def test_what_a_fork_sets_reaches_a_render_through_the_templates_zone_only(
    template: Template, render: Render, tmp_path: Path
) -> None:
    fork = Template(shutil.copytree(template.folder, tmp_path / "fork"))
    org = fork.folder / "org.yml"
    text = org.read_text(encoding="utf-8")
    alerts = "https://alerts.example.org/?to=a&by=b"
    for value in (alerts, "large", "registry.example.org/python:3.12", "https://pip.example.org/simple"):
        text = text.replace('default: ""', f"default: {value}", 1)
    org.write_text(text, encoding="utf-8")
    fork.release("v9999.1.0")
    folder = fork.copy(tmp_path / "project")
    changed = {name for name, content in files(folder).items() if files(render()).get(name) != content}
    assert changed == {"lifecycle/org.mk", "lifecycle/manifest.json", *WORKFLOWS, ANSWERS_FILE}
    for workflow in WORKFLOWS:
        (job,) = yaml.safe_load((folder / workflow).read_text(encoding="utf-8"))["jobs"].values()
        assert job["runs-on"] == "${{ vars.RUNNER || 'large' }}"
    other = fork.copy(tmp_path / "gitlab", ci="gitlab")
    changed = {name for name, content in files(other).items() if files(render(ci="gitlab")).get(name) != content}
    assert changed == {"lifecycle/org.mk", "lifecycle/manifest.json", "lifecycle/ci/gitlab.yml", ANSWERS_FILE}
    job = yaml.safe_load((other / "lifecycle/ci/gitlab.yml").read_text(encoding="utf-8"))["lifecycle"]
    assert (job["tags"], job["variables"]["IMAGE"]) == (["large"], "registry.example.org/python:3.12")
    with (folder / "Makefile").open("a") as makefile:
        makefile.write("print:\n\t@echo $$UV_DEFAULT_INDEX\n")
    assert run("make", "print", folder=folder).stdout == "https://pip.example.org/simple\n"
    with (folder / "Makefile").open("a") as makefile:
        makefile.write("alerts:\n\t@echo $$LOOSELEAF_ALERT_URL\n")
    assert run("make", "alerts", folder=folder).stdout == f"{alerts}\n"
    # Whoever sets it in the shell knows better.
    assert run("make", "print", folder=folder, UV_DEFAULT_INDEX="mine").stdout == "mine\n"


@dataclass(frozen=True)
class Updated:
    """A repository before and after an update to a release that changed everything, and a fresh copy of the latter."""

    before: dict[str, bytes]
    after: dict[str, bytes]
    fresh: dict[str, bytes]


@pytest.fixture(scope="module")
def updated(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Updated:
    """In between, the team has edited, deleted and added files."""
    folder = tmp_path_factory.mktemp("update")
    source = Template(shutil.copytree(template.folder, folder / "template"))
    project = source.copy(folder / "project", owners="@ana", decision="Whom do we call?")
    edit_as_a_team(project)
    before = files(project)
    change_everything(source)
    source.update(project)
    assert not git("ls-files", "--unmerged", folder=project)
    return Updated(before, files(project), files(source.copy(folder / "fresh", owners="@ana")))


an_update = pytest.mark.xdist_group("an update")


@an_update
def test_an_update_leaves_the_teams_zone_as_it_was(updated: Updated) -> None:
    assert teams(updated.after) == teams(updated.before)


@an_update
def test_an_update_makes_the_templates_zone_that_of_a_fresh_copy(updated: Updated) -> None:
    def ours(contents: dict[str, bytes]) -> dict[str, bytes]:
        return {name: contents[name] for name in contents if is_templates(name) and name != ANSWERS_FILE}

    assert ours(updated.after) == ours(updated.fresh)
    assert "lifecycle/added.txt" in updated.after
    assert "lifecycle/docs/data.md" not in updated.after
    assert updated.after["lifecycle/lifecycle.mk"] != updated.before["lifecycle/lifecycle.mk"]


@an_update
def test_an_update_keeps_the_answers(updated: Updated) -> None:
    before, after = (yaml.safe_load(contents[ANSWERS_FILE]) for contents in (updated.before, updated.after))
    assert {name: after[name] for name in questions()} == {name: before[name] for name in questions()}
    assert after["_commit"] == "v9999.1.0"


def teams(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the team's zone."""
    return {name: content for name, content in contents.items() if not is_templates(name)}


def edit_as_a_team(project: Path) -> None:
    """Change every second file of the team's zone, delete every third, add some, and commit."""
    git("init", "--quiet", folder=project)
    git("add", "--all", folder=project)
    for number, name in enumerate(teams(files(project))):
        if number % 3 == 0:
            (project / name).unlink()
        elif number % 2 == 0:
            (project / name).write_bytes(b"ours\n" + (project / name).read_bytes())
    (project / "src/model/ours.py").write_text("OURS = 1\n")
    (project / "deploy").mkdir()
    (project / "deploy/ours.yaml").write_text("ours: 1\n")
    git("add", "--all", folder=project)
    git("commit", "--quiet", "--message", "Ours", folder=project)


def change_everything(template: Template) -> None:
    """Release a version in which every file differs, one of each zone is gone and one of each is new."""
    for path in (template.folder / "template").rglob("*"):
        if path.is_file() and path.suffix != ".jinja":
            path.write_bytes(b"# newer\n" + path.read_bytes())
    (template.folder / "template/lifecycle/docs/data.md").unlink(missing_ok=True)
    (template.folder / "template/src/model/data.py").unlink(missing_ok=True)
    (template.folder / "template/lifecycle/added.txt").write_text("added\n")
    (template.folder / "template/docs").mkdir(exist_ok=True)
    (template.folder / "template/docs/added.md").write_text("added\n")
    template.release("v9999.1.0")


def test_recopying_keeps_the_teams_files(template: Template, tmp_path: Path) -> None:
    older = Template(shutil.copytree(template.folder, tmp_path / "template"))
    project = older.copy(tmp_path / "project")
    for name in teams(files(project)):
        (project / name).write_bytes(b"ours\n" + (project / name).read_bytes())
    git("init", "--quiet", folder=project)
    before = files(project)
    change_everything(older)
    run_recopy(project)
    assert {name: files(project)[name] for name in teams(before)} == teams(before)
    assert "lifecycle/added.txt" in files(project)


def run_recopy(project: Path) -> None:
    """What `copier recopy --defaults --overwrite` does."""
    copier.run_recopy(project, defaults=True, overwrite=True, quiet=True, unsafe=False)


def test_unknown_answers_are_refused_in_the_suite(template: Template, tmp_path: Path) -> None:
    """Copier takes them silently, and a test with a typo would prove nothing."""
    with pytest.raises(ValueError, match="no question for modle_name"):
        template.copy(tmp_path / "project", modle_name="fraud")


def test_the_presets_answer_real_questions() -> None:
    for path in (ROOT / "tests/answers").glob("*.yml"):
        answers = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert answers.keys() == questions().keys(), path
    default = yaml.safe_load((ROOT / "tests/answers/default.yml").read_text(encoding="utf-8"))
    assert default == {name: question["default"] for name, question in copier_yml().items() if name in questions()}


def test_there_is_a_preset_for_each_shape() -> None:
    found = {}
    for path in (ROOT / "tests/answers").glob("*.yml"):
        answers = yaml.safe_load(path.read_text(encoding="utf-8"))
        found[path.stem] = (answers["usage"], answers["ci"])
    assert found == {
        "default": (["online", "batch"], "github"),
        "online": (["online"], "github"),
        "batch": (["batch"], "github"),
        "gitlab": (["online", "batch"], "gitlab"),
    }

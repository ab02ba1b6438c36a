"""Renders over all pairs of choices: they parse, have the right files, and an choice changes only its own files."""

import ast
import itertools
import json
import re
import shutil
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from looseleaf.snapshot import git
from support.rendering import TEMPLATE, Template, files, is_templates, questions, run, tool

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
    "platform": ["none", "kubernetes"],
}
SHAPES = [{"usage": usage, "ci": ci} for ci in TRIED["ci"] for usage in TRIED["usage"]]
# Rows in which each value of each question occurs with each value of every other question.
ROWS: list[dict[str, Any]] = [
    {"model_name": name, "decision": decision, "owners": TRIED["owners"][(first + second) % 5]}
    | SHAPES[(first + 2 * second) % 6]
    | {"platform": TRIED["platform"][(first // 2 + second) % 2]}
    for (first, name), (second, decision) in itertools.product(
        enumerate(TRIED["model_name"]), enumerate(TRIED["decision"])
    )
]
# The files that depend on an choice, besides the answers file.
REACH = {
    "model_name": {"pyproject.toml", "README.md"},
    "decision": {"pyproject.toml", "README.md", "docs/agreement.md"},
    "owners": {"OWNERS"},
    "usage": {"README.md", "docs/agreement.md"},
    "ci": {"README.md"},
    "platform": {"README.md"},
}
TOOLS = tuple(f"lifecycle/tools/{name}.py" for name in ("compose", "deploy", "image", "manifests", "rendered"))
# The files that exist for one choice only; all others are in every render.
OWNED = {
    "online": (
        "deploy/compose.online.yaml",
        "deploy/compose/",
        "deploy/kubernetes/base/online.yaml",
        "deploy/kubernetes/components/prometheus-operator/",
        "docs/slo.yaml",
        "lifecycle/deploy/",
        "lifecycle/src/lifecycle/serving/",
        "lifecycle/tools/client/",
        "lifecycle/tools/slo.py",
    ),
    "batch": ("deploy/kubernetes/base/batch.yaml", "lifecycle/docs/scoring.md", "lifecycle/src/lifecycle/scoring/"),
    "github": (".github/",),
    "gitlab": (".gitlab-ci.yml", "lifecycle/ci/"),
    "kubernetes": (
        "config/Kustomization",
        "deploy/",
        "lifecycle/ci/platform.yml",
        "lifecycle/docs/deploying.md",
        "lifecycle/docs/settings.md",
        *TOOLS,
        *(f"lifecycle/tools/{name}.py" for name in ("audit", "command", "scheduled", "supply_chain")),
        *(f".github/workflows/lifecycle-{name}.yml" for name in ("image", "monitor", "promote")),
    ),
}
ANSWERS_FILE = ".copier-answers.yml"
WORKFLOWS = [".github/workflows/lifecycle.yml", ".github/workflows/lifecycle-update.yml"]

every_pair = pytest.mark.parametrize(
    "choices", [pytest.param(row, id=str(n), marks=pytest.mark.xdist_group(f"row {n}")) for n, row in enumerate(ROWS)]
)


def test_the_rows_have_every_pair_of_choices() -> None:
    for one, other in itertools.combinations(TRIED, 2):
        pairs = {(str(row[one]), str(row[other])) for row in ROWS}
        assert pairs == set(itertools.product(map(str, TRIED[one]), map(str, TRIED[other])))
    assert [*TRIED] == [*questions()]


@every_pair
def test_a_file_of_a_choice_is_rendered_for_that_choice_only(render: Render, choices: dict[str, Any]) -> None:
    everything = files(render(platform="kubernetes")) | files(render(ci="gitlab", platform="kubernetes"))
    given = (*choices["usage"], choices["ci"], choices["platform"])
    missing = tuple(start for choice, starts in OWNED.items() if choice not in given for start in starts)
    assert {*files(render(**choices))} == {name for name in everything if not name.startswith(missing)}
    for start in itertools.chain(*OWNED.values()):
        assert any(name.startswith(start) for name in everything), start


@pytest.mark.parametrize("choices", SHAPES, ids=str)
def test_the_teams_files_do_not_mention_a_usage_or_host_that_is_not_rendered(
    render: Render, choices: dict[str, Any]
) -> None:
    patterns = {
        "online": r"make (serve|features|client)|/predict\b|curl|\bservice\b",
        "batch": r"make score|storage/scores|train promote score|\bbatch",
        "github": r"\.github|GitHub",
        "gitlab": r"gitlab|GitLab",
    }
    given = (*choices["usage"], choices["ci"])
    for name, content in files(render(**choices, platform="kubernetes")).items():
        # These two name files of both hosts, whichever is rendered.
        if not is_templates(name) and name not in ("OWNERS", "renovate.json"):
            for choice in patterns.keys() - {*given}:
                text = content.decode("utf-8").replace("apiVersion: batch/v1\n", "")  # that of jobs of any kind
                match = re.search(patterns[choice], text, re.IGNORECASE)
                assert not match, f"{name}: {match}"


@every_pair
def test_every_file_parses(render: Render, choices: dict[str, Any]) -> None:
    parsers: dict[str, Callable[[str], Any]] = {
        ".py": ast.parse,
        ".toml": tomllib.loads,
        ".json": json.loads,
        ".ipynb": json.loads,
        ".yml": yaml.safe_load,
        ".yaml": lambda text: [*yaml.safe_load_all(text)],
        "OWNERS": yaml.safe_load,
    }
    for name, content in files(render(**choices)).items():
        parse = parsers.get(Path(name).suffix or name)
        if parse:
            parse(content.decode("utf-8"))


@every_pair
def test_each_choice_is_rendered_exactly_as_given(render: Render, choices: dict[str, Any]) -> None:
    folder = render(**choices)
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["name"], project["description"]) == (f"{choices['model_name']}-model", choices["decision"])
    recorded = yaml.safe_load((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    assert {name: recorded[name] for name in choices} == choices
    assert recorded.keys() == {*choices, "_commit", "_src_path"}
    assert choices["decision"] in (folder / "docs/agreement.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("owners", "roles"),
    [
        ("nobody yet", ([], [], [])),
        ("@ana", (["ana"], ["ana"], ["ana"])),
        ("@ana, @acme/bo , @cy.d_e-f", (["ana"], ["acme/bo"], ["cy.d_e-f"])),
        ("@on, @1e3, @null", (["on"], ["1e3"], ["null"])),
    ],
)
def test_owners_are_rendered_in_their_roles(render: Render, owners: str, roles: tuple[list[str], ...]) -> None:
    rendered = yaml.safe_load((render(owners=owners) / "OWNERS").read_text(encoding="utf-8"))["x-ownership"]["roles"]
    assert rendered == dict(zip(("data-science", "engineering", "product"), roles, strict=True))


@every_pair
def test_no_jinja_is_left_in_a_render(render: Render, choices: dict[str, Any]) -> None:
    folder = render(**choices)
    for path in TEMPLATE.rglob("*.jinja"):
        name = path.relative_to(TEMPLATE).as_posix().removesuffix(".jinja")
        name = ANSWERS_FILE if "answers_file" in name else name
        if not (folder / name).exists():
            continue
        text = (folder / name).read_text(encoding="utf-8")
        quoted = json.dumps(choices["decision"], ensure_ascii=False)[1:-1]
        for given in (quoted, choices["decision"]):
            text = text.replace(given, "")
        text = re.sub(r"\$\{\{.*?\}\}", "", text)  # a workflow's own expressions
        # YAML may fold the sentence; the test above reads the answers file.
        assert name == ANSWERS_FILE or not re.search(r"\{\{|\{%|\{#", text), name


@every_pair
def test_formatting_a_render_changes_nothing(render: Render, choices: dict[str, Any]) -> None:
    for command in (["check"], ["format", "--check"]):
        done = run(tool("ruff"), *command, "--no-cache", ".", folder=render(**choices))
        assert done.returncode == 0, done.stdout
        assert "No Python files" not in done.stdout


def test_two_renders_are_equal_byte_for_byte(template: Template, render: Render, tmp_path: Path) -> None:
    again = template.copy(tmp_path / "again")
    assert files(again) == files(render())


@pytest.mark.parametrize("question", TRIED)
def test_a_choice_changes_only_what_it_owns(render: Render, question: str) -> None:
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
    assert len([path for path in render().iterdir() if not path.name.startswith(".")]) <= 15
    assert max(len(content) for content in names.values()) < 60_000


def test_only_scripts_are_executable(render: Render) -> None:
    for path in render().rglob("*"):
        if path.is_file() and path.stat().st_mode & stat.S_IXUSR:
            assert path.read_bytes().startswith(b"#!"), path


def test_git_ignores_what_commands_create_and_nothing_that_is_rendered(render: Render, tmp_path: Path) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    git("init", "--quiet", folder=folder)
    created = [
        "data/events.parquet",
        "storage/audit.jsonl",
        ".venv/bin/python",
        ".uv/bin/uv",
        "src/model/__pycache__/a.pyc",
    ]
    for name in created:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    git("add", "--all", folder=folder)
    assert {*git("ls-files", folder=folder).splitlines()} == {*files(render())}


ONLINE = "features serve client year slo"


@pytest.mark.parametrize(
    ("usage", "commands"),
    [(["online", "batch"], f"{ONLINE} score"), (["online"], ONLINE), (["batch"], "score")],
    ids=str,
)
def test_make_help_lists_every_command_of_the_usage(render: Render, usage: list[str], commands: str) -> None:
    done = run("make", folder=render(usage=usage))
    assert done.returncode == 0
    listed = re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)
    makefile = (render() / "lifecycle/lifecycle.mk").read_text(encoding="utf-8").replace("\\\n", " ")
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE))
    absent = {*f"{ONLINE} score".split()} - {*commands.split()}
    others = re.findall(r"^  ([a-z-]+) ", run("make", folder=render(usage=usage, platform="kubernetes")).stdout, re.M)
    assert {*others} - {*listed} == {"image", "up", "down", "manifests", "deploy", "audit", "sbom", "scheduled"}
    assert sorted(others) == sorted(name for name in phony.split() if name not in absent)


@pytest.mark.parametrize(
    ("usage", "command", "missing"),
    [
        ("batch", "serve", "online"),
        ("batch", "client", "online"),
        ("batch", "features", "online"),
        ("online", "score", "batch"),
    ],
)
def test_a_command_of_another_usage_says_how_to_add_it(
    template: Template, tmp_path: Path, usage: str, command: str, missing: str
) -> None:
    folder = template.copy(tmp_path / "project", usage=[usage])
    # An update does not remove compiled files of Python.
    (folder / "lifecycle/src/lifecycle/serving/__pycache__").mkdir(parents=True, exist_ok=True)
    (folder / ".venv/bin").mkdir(parents=True)
    script = folder / ".venv/bin/lifecycle"
    script.write_text(f'#!/bin/sh\nexec {tool("python")} -m lifecycle "$@"\n')
    script.chmod(0o755)
    environment = {"PYTHONPATH": str(folder / "lifecycle/src")}
    done = run("make", f"UV={tool('uv')}", command, folder=folder, **environment)
    assert done.returncode == 2
    assert f"{command} is not available: this repository was rendered without {missing}" in done.stdout
    assert "make update SET='usage=[online, batch]'" in done.stdout
    listed = run(str(script), "--help", folder=folder, **environment).stdout
    assert not re.search(rf"^    {command} ", listed, re.MULTILINE)
    assert re.search(r"^    promote ", listed, re.MULTILINE)


def test_make_smoke_runs_the_steps_of_the_usage(render: Render, tmp_path: Path) -> None:
    for usage in TRIED["usage"]:
        folder = shutil.copytree(render(usage=usage), tmp_path / "-".join(usage))
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/lifecycle").write_text('#!/bin/sh\necho "<$1>"\n')
        (folder / ".venv/bin/lifecycle").chmod(0o755)
        steps = re.findall(r"^<(\w+)>$", run("make", "smoke", folder=folder).stdout, re.MULTILINE)
        assert steps == ["tables", "train", "promote", *(["score"] if "batch" in usage else [])]


def test_the_settings_of_a_fork_change_the_templates_zone_only(template: Template, tmp_path: Path) -> None:
    alerts, index = "https://alerts.example.org/?to=a&by=b", "https://pip.example.org/simple?a=b&c"
    values = {"org_alert_url": alerts, "org_runner": "large", "org_index_url": index}
    values["org_base_image"] = "registry.example.org/python:3.12"
    fork = Template(shutil.copytree(template.folder, tmp_path / "fork"))
    assert fork.org().keys() == values.keys()
    fork.set_org(**dict.fromkeys(values, ""))
    fork.release("v9999.1.0")
    empty, empty_gitlab = fork.copy(tmp_path / "empty"), fork.copy(tmp_path / "empty-gitlab", ci="gitlab")
    fork.set_org(**values)
    fork.release("v9999.2.0")
    folder = fork.copy(tmp_path / "project")
    changed = {name for name, content in files(folder).items() if files(empty).get(name) != content}
    assert changed == {"lifecycle/org.mk", "lifecycle/manifest.json", "uv.toml", *WORKFLOWS, ANSWERS_FILE}
    for workflow in WORKFLOWS:
        jobs = yaml.safe_load((folder / workflow).read_text(encoding="utf-8"))["jobs"].values()
        assert {job["runs-on"] for job in jobs} == {"${{ vars.RUNNER || 'large' }}"}
    other = fork.copy(tmp_path / "gitlab", ci="gitlab")
    changed = {name for name, content in files(other).items() if files(empty_gitlab).get(name) != content}
    pipeline = "lifecycle/ci/gitlab.yml"
    assert changed == {"lifecycle/org.mk", "lifecycle/manifest.json", "uv.toml", pipeline, ANSWERS_FILE}
    job = yaml.safe_load((other / pipeline).read_text(encoding="utf-8"))["lifecycle"]
    assert (job["tags"], job["variables"]["IMAGE"]) == (["large"], "registry.example.org/python:3.12")
    settings = tomllib.loads((folder / "uv.toml").read_text(encoding="utf-8"))
    assert settings == {"index": [{"url": index, "default": True}]}
    with (folder / "Makefile").open("a") as makefile:
        makefile.write("alerts:\n\t@echo $$LOOSELEAF_ALERT_URL\n")
    assert run("make", "alerts", folder=folder).stdout == f"{alerts}\n"
    # pip installs uv from the same index; a variable of the shell has precedence.
    command = ("make", "--dry-run", ".uv/bin/uv")
    assert f"--index-url '{index}' uv" in run(*command, folder=folder).stdout
    assert "--index-url 'mine' uv" in run(*command, folder=folder, UV_DEFAULT_INDEX="mine").stdout
    assert "--index-url" not in run(*command, folder=empty).stdout


def test_a_repository_without_an_index_of_the_company_may_have_a_uv_toml_of_its_own(
    template: Template, tmp_path: Path
) -> None:
    fork = Template(shutil.copytree(template.folder, tmp_path / "fork"))
    fork.set_org(org_index_url="")
    fork.release("v9999.1.0")
    folder = fork.copy(tmp_path / "project")
    (folder / "uv.toml").write_text("offline = false\n")
    done = run("python3", "lifecycle/tools/manifest_check.py", folder=folder)
    assert done.returncode == 0, done.stdout


def test_unknown_choices_are_refused_in_the_suite(template: Template, tmp_path: Path) -> None:
    """Copier accepts them without a message, and a test with a typo would test nothing."""
    with pytest.raises(ValueError, match="no question for modle_name"):
        template.copy(tmp_path / "project", modle_name="fraud")

"""Checks of the template that need no render, and of the files for CI hosts."""

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pathspec import PathSpec

from looseleaf.snapshot import git
from maintenance import manifest
from support.rendering import (
    ROOT,
    TEMPLATE,
    copier_yml,
    is_templates,
    questions,
    rendered_name,
    run,
    template_files,
    tool,
)

SETTINGS = copier_yml()
QUESTIONS = questions()
JINJA = [path for path in template_files() if path.suffix == ".jinja"]
GITLAB = "lifecycle/ci/gitlab.yml"
PROPOSES = ".github/workflows/lifecycle-update.yml"
TAG = re.compile(r"\{\{|\{%")


@pytest.fixture(params=["test", *(f"lifecycle{each}" for each in ("", "-update", "-image", "-monitor", "-promote"))])
def workflow(request: pytest.FixtureRequest, render: Callable[..., Path]) -> Path:
    """Return the workflow of this repository or one that it renders."""
    root = ROOT if request.param == "test" else render(platform="kubernetes")
    return root / f".github/workflows/{request.param}.yml"


def test_nothing_in_copier_yml_needs_trust() -> None:
    assert not {"_tasks", "_jinja_extensions", "_migrations"} & SETTINGS.keys()


def test_copier_yml_requires_a_minimum_version_of_copier() -> None:
    assert SETTINGS["_min_copier_version"] == "9.19.0"


def test_an_unknown_name_in_jinja_is_an_error_instead_of_an_empty_text() -> None:
    assert SETTINGS["_envops"]["undefined"] == "jinja2.StrictUndefined"


def test_copier_yml_uses_expressions_only() -> None:
    """The delimiter is `# {%`: a bare block tag would silently be text."""
    lines = (ROOT / "copier.yml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "{%" in line] == ['  block_start_string: "# {%"']


@pytest.mark.parametrize("name", ["before_copy", "after_copy", "before_update", "after_update"])
def test_copier_prints_a_message_before_and_after(name: str) -> None:
    assert SETTINGS[f"_message_{name}"].strip()


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_help_a_default_and_a_validator(name: str) -> None:
    assert {"type", "help", "placeholder", "default", "validator"} <= QUESTIONS[name].keys()


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_fits_a_terminal_of_80_columns(name: str) -> None:
    assert len(f"🎤 {QUESTIONS[name]['help']}") < 80


def test_the_default_path_has_at_most_eight_questions() -> None:
    assert len(QUESTIONS) <= 8


def test_the_presets_have_exactly_the_questions() -> None:
    for path in (ROOT / "tests/answers").glob("*.yml"):
        choices = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert choices.keys() == questions().keys(), path
    default = yaml.safe_load((ROOT / "tests/answers/default.yml").read_text(encoding="utf-8"))
    assert default == {name: question["default"] for name, question in copier_yml().items() if name in questions()}


def test_there_is_a_preset_for_each_shape() -> None:
    shapes = {}
    for path in (ROOT / "tests/answers").glob("*.yml"):
        choices = yaml.safe_load(path.read_text(encoding="utf-8"))
        shapes[path.stem] = (choices["usage"], choices["ci"], choices["platform"])
    assert shapes == {
        "default": (["online", "batch"], "github", "none"),
        "online": (["online"], "github", "none"),
        "batch": (["batch"], "github", "none"),
        "gitlab": (["online", "batch"], "gitlab", "none"),
        "kubernetes": (["online", "batch"], "github", "kubernetes"),
    }


def test_the_first_message_counts_the_questions() -> None:
    assert re.match(r"Looseleaf: (\w+) questions, ", SETTINGS["_message_before_copy"])[1] == "six"
    assert len(QUESTIONS) == 6


def test_a_question_is_explained_in_the_docs() -> None:
    sections = re.findall(r"^## `(\w+)`$", (ROOT / "docs/choices.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == list(QUESTIONS)


def test_the_settings_of_a_fork_are_not_questions() -> None:
    """In a fork they have values; `make release` refuses a release of upstream with any."""
    for name, question in yaml.safe_load((ROOT / "org.yml").read_text(encoding="utf-8")).items():
        assert name.startswith("org_")
        assert question["when"] is False
        assert isinstance(question["default"], str)


def test_the_base_image_is_used_for_gitlab_only_as_org_yml_says() -> None:
    reached = {
        rendered_name(path) for path in template_files() if "org_base_image" in path.read_text("utf-8", "replace")
    }
    assert reached == {"lifecycle/ci/gitlab.yml"}
    comment = (ROOT / "org.yml").read_text(encoding="utf-8").split("org_base_image:")[0].rpartition("\n\n")[2]
    assert "It does not reach GitHub" in comment


def test_jinja_stays_within_its_budget() -> None:
    tags = Counter({path.name: len(TAG.findall(path.read_text(encoding="utf-8"))) for path in JINJA})
    assert tags.total() <= 60
    # One more file has the suffix and no tag: as .gitattributes, it would act on the template itself.
    assert len(+tags) <= 12


def test_the_gitignore_of_a_render_hides_no_file_of_the_template() -> None:
    """template/.gitignore applies here, too: a file that it matches would be neither committed nor rendered."""
    listed = git("ls-files", "--others", "--ignored", "--exclude-standard", "--", "template", folder=ROOT).splitlines()
    created = re.compile(
        r"/(__pycache__|\.\w+_cache|data|storage|[\w.]+\.egg-info)/|\.DS_Store$|^template/pyproject\.toml$"
    )
    assert [name for name in listed if not created.search(name)] == []
    shipped = git("ls-files", "--cached", "--ignored", "--exclude-standard", "--", "template", folder=ROOT)
    assert shipped == ""


def test_no_python_file_and_no_path_has_jinja() -> None:
    assert not [path for path in template_files() if path.name.endswith(".py.jinja")]
    allowed = "{{_copier_conf.answers_file}}.jinja"
    assert not [path for path in template_files() if TAG.search(str(path)) and path.name != allowed]


def test_a_file_without_the_suffix_has_no_jinja() -> None:
    allowed = re.compile(r"\$\{\{.*?\}\}")  # a workflow's own expressions
    for path in set(template_files()) - set(JINJA):
        # Templates of pages, which the runtime renders and Copier copies.
        if path.suffix == ".j2":
            continue
        text = allowed.sub("", path.read_bytes().decode("utf-8"))
        assert not re.search(r"\{\{\s*\w+\s*(\||\}\})|\{%", text), path


def test_a_block_tag_is_alone_on_its_line() -> None:
    for path in JINJA:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "{%" in line:
                assert re.fullmatch(r"\s*# \{% .* %\}", line), f"{path}: {line}"


def test_the_zones_cover_every_file_exactly_once() -> None:
    """An update and a recopy protect the same files, and these are the team's zone."""
    on_update = ["/**" if "update" in pattern else pattern for pattern in SETTINGS["_exclude"]]
    assert "{{ '/**' if _copier_operation == 'update' }}" in SETTINGS["_exclude"]
    hidden = PathSpec.from_lines("gitignore", on_update)
    kept = PathSpec.from_lines("gitignore", SETTINGS["_skip_if_exists"])
    for name in map(rendered_name, template_files()):
        # Copier matches each path on its own: a hidden folder does not hide its content.
        assert hidden.match_file(name) is not is_templates(name), name
        assert kept.match_file(name) is not is_templates(name), name


def test_the_manifest_is_up_to_date() -> None:
    message = "the template's zone has changed: run make manifest and commit template/lifecycle/manifest.json.jinja"
    assert (ROOT / manifest.MANIFEST).read_text(encoding="utf-8") == manifest.text(ROOT), message


def test_the_teams_python_code_has_at_most_300_lines() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (TEMPLATE / "src").rglob("*.py")]
    assert sum(len(text.splitlines()) for text in texts) <= 300


def test_the_template_passes_ruff_in_place() -> None:
    for command in (["check"], ["format", "--check"]):
        done = run(tool("ruff"), *command, folder=ROOT)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_template_passes_mypy_in_place() -> None:
    done = run(tool("mypy"), folder=ROOT)
    assert done.returncode == 0, done.stdout


def test_a_render_has_the_lint_and_type_rules_of_the_template() -> None:
    """Code that passes here passes there: this repository has every rule of a render, and docstring rules besides."""
    here = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    there = tomllib.loads((TEMPLATE / "pyproject.toml.jinja").read_text(encoding="utf-8"))["tool"]
    assert {*here["ruff"]["lint"]["select"]} - {*there["ruff"]["lint"]["select"]} == {"D"}
    assert {*there["ruff"]["lint"]["select"]} <= {*here["ruff"]["lint"]["select"]}
    assert {name for name in here["ruff"]["lint"]["ignore"] if name[0] != "D"} == {*there["ruff"]["lint"]["ignore"]}
    assert here["ruff"]["line-length"] == there["ruff"]["line-length"]
    assert here["mypy"]["strict"] is there["mypy"]["strict"] is True
    untyped_here, untyped_there = ({*tool["mypy"]["overrides"][0]["module"]} for tool in (here, there))
    # The lifecycle imports the others; a repository checks its own files only.
    names = "onnx onnxruntime py4j pyarrow pyspark skl2onnx sqlglot threadpoolctl tqdm"
    lifecycle = {f"{name}.*" for name in names.split()}
    assert untyped_here - untyped_there <= {"pyte.*"} | lifecycle
    assert untyped_there <= untyped_here


def test_the_workflow_is_valid_for_github(workflow: Path) -> None:
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(workflow), folder=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_workflow_has_no_known_security_weakness(workflow: Path) -> None:
    done = run(tool("zizmor"), "--offline", "--no-progress", str(workflow), folder=ROOT)
    assert done.returncode == 0, done.stdout


def test_a_workflow_has_read_permissions_but_for_two_jobs(workflow: Path) -> None:
    """The proposal of an update uses a secret of the team, not the run's own token."""
    loaded = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert loaded["permissions"] == {"contents": "read"}
    more = {"lifecycle-image": {"publish": "packages"}, "lifecycle-monitor": {"issue": "issues"}}
    given = {name: job["permissions"] for name, job in loaded["jobs"].items() if "permissions" in job}
    wanted = more.get(workflow.stem, {}).items()
    assert given == {job: {"contents": "read", right: "write"} for job, right in wanted}


def test_the_workflow_pins_actions_and_runs_make(workflow: Path) -> None:
    loaded = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    for line in re.findall(r"uses: .*", workflow.read_text(encoding="utf-8")):
        assert re.fullmatch(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
    runs = [step["run"] for job in loaded["jobs"].values() for step in job["steps"] if "run" in step]
    assert runs
    # What the jobs with a token that may write run is checked below and in test_workflows.py.
    allowed = {"lifecycle-update": {"true", SEND}, "lifecycle-monitor": {OPEN}}.get(workflow.stem, set())
    assert {run for run in runs if not run.startswith("make ")} == allowed


def test_updates_are_proposed_weekly_or_by_hand_and_not_in_forks(render: Callable[..., Path]) -> None:
    loaded = yaml.safe_load((render() / PROPOSES).read_text(encoding="utf-8"))
    when = loaded[True]  # YAML 1.1 reads the word `on` as true
    assert when.keys() == {"schedule", "workflow_dispatch"}
    assert [re.fullmatch(r"\d+ \d+ \* \* \d", each["cron"]) is not None for each in when["schedule"]] == [True]
    jobs = loaded["jobs"]
    assert jobs["token"]["if"] == "!github.event.repository.fork"
    # Without a token, the other jobs are skipped.
    assert jobs["token"]["outputs"] == {"exists": "${{ secrets.LOOSELEAF_TOKEN != '' }}"}
    assert (jobs["prepare"]["needs"], jobs["prepare"]["if"]) == ("token", "needs.token.outputs.exists == 'true'")
    assert (jobs["push"]["needs"], "if" in jobs["push"]) == ("prepare", False)
    depths = [step["with"]["fetch-depth"] for job in jobs.values() for step in job["steps"] if "/checkout" in str(step)]
    assert depths == [0, 0]


SEND = "python3 -I lifecycle/tools/template_source.py send"
OPEN = "python3 -I lifecycle/tools/scheduled.py send"


def test_on_github_no_job_with_the_token_that_may_push_runs_code_of_the_repository(
    render: Callable[..., Path],
) -> None:
    jobs = yaml.safe_load((render() / PROPOSES).read_text(encoding="utf-8"))["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands == {"token": ["true"], "prepare": ["make setup", "make propose"], "push": [SEND]}
    assert [name for name, job in jobs.items() if "LOOSELEAF_TOKEN" in str(job["steps"])] == ["push"]
    assert {name: job.get("environment") for name, job in jobs.items()} == {
        "token": "looseleaf", "prepare": None, "push": "looseleaf"
    }  # fmt: skip
    assert "LOOSELEAF_TOKEN" not in str(jobs["prepare"])
    actions = {step["uses"].partition("@")[0] for step in jobs["push"]["steps"] if "uses" in step}
    assert actions == {"actions/checkout", "actions/download-artifact"}


def test_the_update_jobs_are_valid_for_gitlab_and_run_in_their_own_schedule_only() -> None:
    path = TEMPLATE / "lifecycle/ci/update.yml"
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(path), folder=ROOT)
    assert done.returncode == 0, done.stdout
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert jobs["prepare-update"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule" && $LOOSELEAF_UPDATE'}]
    assert jobs["push-update"]["extends"] == "prepare-update"
    assert "rules" not in jobs["push-update"]
    assert jobs["prepare-update"]["variables"] == {"GIT_DEPTH": "0"}


def test_on_gitlab_no_job_with_the_token_that_may_push_runs_code_of_the_repository() -> None:
    """A variable with an environment scope reaches the jobs of that environment only."""
    jobs = yaml.safe_load((TEMPLATE / "lifecycle/ci/update.yml").read_text(encoding="utf-8"))
    assert jobs["prepare-update"]["script"] == ["make setup", "make propose"]
    assert "environment" not in jobs["prepare-update"]
    push = jobs["push-update"]
    assert push["environment"] == {"name": "looseleaf", "action": "access"}
    assert (push["script"], push["before_script"], push["after_script"], push["cache"]) == ([SEND], [], [], [])


def test_all_files_for_ci_pin_the_same_version_of_uv(render: Callable[..., Path]) -> None:
    root = render(platform="kubernetes")
    pinned = re.findall(r"^UV_VERSION := (\d+\.\d+\.\d+)$", (root / "lifecycle/lifecycle.mk").read_text(), re.MULTILINE)
    for path in sorted((root / ".github/workflows").iterdir()):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        steps = [step for job in jobs for step in job["steps"] if "setup-uv" in step.get("uses", "")]
        pinned += [step["with"]["version"] for step in steps]
    pinned += re.findall(r"^ARG UV=(\S+)$", (TEMPLATE / "deploy/Containerfile").read_text(), re.MULTILINE)
    assert len(pinned) == 10
    assert len({*pinned}) == 1


def test_renovate_proposes_the_template_and_merges_nothing() -> None:
    path = TEMPLATE / "renovate.json"
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.renovate", str(path), folder=ROOT)
    assert done.returncode == 0, done.stdout
    config = json.loads(path.read_text(encoding="utf-8"))
    assert config["schedule"] == ["before 6am on monday"]
    assert '"automerge": true' not in path.read_text(encoding="utf-8")
    assert [rule["groupName"] for rule in config["packageRules"] if rule.get("matchManagers") == ["copier"]] == [
        "template"
    ]
    # Renovate must not change the template's files, because the next update would stop there.
    (ignored,) = [rule for rule in config["packageRules"] if rule.get("enabled") is False]
    ours = {*map(rendered_name, template_files())}
    matched = {name for name in ours if PathSpec.from_lines("gitignore", ignored["matchFileNames"]).match_file(name)}
    assert matched == {name for name in ours if is_templates(name)} - {".copier-answers.yml"}


@pytest.mark.parametrize("name", [f"{PROPOSES}.jinja", "lifecycle/ci/update.yml", "lifecycle/lifecycle.mk"])
def test_files_about_updates_name_their_documentation(name: str) -> None:
    page = "lifecycle/docs/updates.md"
    assert page in (TEMPLATE / name).read_text(encoding="utf-8")
    assert (TEMPLATE / page).is_file()


@pytest.mark.parametrize("name", [".gitlab-ci.yml", GITLAB, "lifecycle/ci/platform.yml"])
def test_the_pipeline_is_valid_for_gitlab(render: Callable[..., Path], name: str) -> None:
    path = render(ci="gitlab", platform="kubernetes") / name
    done = run(tool("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(path), folder=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_pipeline_runs_the_commands_of_the_workflow(render: Callable[..., Path]) -> None:
    included = yaml.safe_load((render(ci="gitlab") / ".gitlab-ci.yml").read_text(encoding="utf-8"))["include"]
    assert included == [{"local": GITLAB}]
    pipeline = yaml.safe_load((render(ci="gitlab") / GITLAB).read_text(encoding="utf-8"))
    platform = "lifecycle/ci/platform.yml"
    assert pipeline["include"] == [
        {"local": "lifecycle/ci/update.yml"},
        {"local": platform, "rules": [{"exists": [platform]}]},
    ]
    job = pipeline["lifecycle"]
    workflow = yaml.safe_load((render() / ".github/workflows/lifecycle.yml").read_text(encoding="utf-8"))
    (other,) = workflow["jobs"].values()
    assert job["script"] == [step["run"] for step in other["steps"] if "run" in step]
    assert job["timeout"] == f"{other['timeout-minutes']} minutes"
    assert job["cache"]["key"] == {"files": ["uv.lock"]}


def test_no_rendered_file_names_a_host() -> None:
    """No package index, forge or tracking server is named: a render uses the setup of the machine."""
    # The name of JSON Schema's dialect is an identifier, not an address, and `prometheus` is a container.
    hosts = re.compile(rb"https?://(?!127\.0\.0\.1|localhost|json-schema\.org/draft|prometheus:)([\w.-]+)")
    for path in [*template_files(), ROOT / "copier.yml"]:
        assert not hosts.findall(path.read_bytes()), path


def test_ci_runs_the_command_of_the_readme() -> None:
    text = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert run("bash", "-n", ".ci/run", folder=ROOT).returncode == 0
    assert text.rstrip().endswith("make lint\nmake test\nmake test-slow")
    assert "`make test` runs the tests" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_release_date_is_in_one_file_only() -> None:
    date = re.search(r"^RELEASED := (\S+)$", (TEMPLATE / "lifecycle/lifecycle.mk").read_text(encoding="utf-8"), re.M)
    assert date
    others = [
        path
        for path in [*template_files(), ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "copier.yml"]
        if date[1][:10] in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert others == [TEMPLATE / "lifecycle/lifecycle.mk"]

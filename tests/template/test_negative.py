"""Invalid choices and missing prerequisites are refused with a reason, and leave nothing half-written."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from copier.errors import CopierError
from yaml import YAMLError

from support.rendering import Template, files, run, tool

Render = Callable[..., Path]

MALFORMED = ["", "Card", "card fraud", "card_fraud", "-card", "card-", "card--fraud", "4cards", "karte-ü", "churn\n"]
NAMES = {
    **dict.fromkeys([*MALFORMED, "../churn", "a/b", "{{ x }}"], "lower-case words, joined by hyphens"),
    "x" * 41: "at most 40 characters",
}
DECISIONS = {
    **dict.fromkeys(["", "   "], "one sentence is required"),
    "x" * 201: "at most 200 characters",
    **dict.fromkeys(["two\nlines", "two\rlines", "a\x1b[31mb", "a\u2028b"], "one line, no control characters"),
}
OWNERS = ["", "ana", "@ana, @bo", "@ana @bo @cy", "@a, @b, @c, @d", "@", "@ana\n", "@an a"]
USAGES = {
    "": "Not a YAML list",
    "[]": "[online], [batch] or [online, batch]",
    "batch": "Not a YAML list",
    "[stream]": "'stream' is not in ['online', 'batch']",
    "[online, stream]": "'stream' is not in ['online', 'batch']",
    "[batch": "expected ',' or ']'",
    "null": "Not a YAML list",
}
INVALID = [
    *(("model_name", value, reason) for value, reason in NAMES.items()),
    *(("decision", value, reason) for value, reason in DECISIONS.items()),
    *(("owners", value, "@ana; or @ana, @bo, @cy; or nobody yet") for value in OWNERS),
    *(("usage", value, reason) for value, reason in USAGES.items()),
    *(("ci", value, "is not in ['github', 'gitlab']") for value in ("", "jenkins", "[github]")),
]


def copy(template: Template, folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Run `copier copy` with the defaults and these options; return its exit code and output."""
    command = [tool("copier"), "copy", "--defaults", *options, template.url, str(folder)]
    done = run(*command, folder=folder.parent, **environment)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("question", "value", "reason"), INVALID)
def test_an_invalid_choice_is_refused_with_a_reason(
    template: Template, tmp_path: Path, question: str, value: str, reason: str
) -> None:
    # As `copier copy --data` passes the text, in this process, because starting Copier takes longer than its refusal.
    with pytest.raises((ValueError, TypeError, CopierError, YAMLError), match=re.escape(reason)):
        template.copy(tmp_path / "project", **{question: value})
    assert not (tmp_path / "project").exists()


def test_a_refused_choice_ends_the_command_with_1(template: Template, tmp_path: Path) -> None:
    code, output = copy(template, tmp_path / "project", "--data", "owners=ana")
    assert (code, "@ana; or @ana, @bo, @cy; or nobody yet" in output) == (1, True)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("name", ["class", "test", "numpy", "lifecycle"])
def test_a_model_may_have_the_name_of_a_keyword_or_dependency(render: Render, name: str) -> None:
    assert f'name = "{name}-model"' in (render(model_name=name) / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("usage", ["[batch]", "['batch']", '["batch"]', "[ batch ]"])
def test_a_usage_is_a_yaml_list_in_any_notation(template: Template, tmp_path: Path, usage: str) -> None:
    code, output = copy(template, tmp_path / "project", "--data", f"usage={usage}")
    assert code == 0, output
    assert not (tmp_path / "project/lifecycle/src/lifecycle/serving").exists()
    assert (tmp_path / "project/lifecycle/src/lifecycle/scoring").exists()


@pytest.mark.parametrize("name", ["README.md", "notes/one.txt", "a/b/c/d.txt"])
@pytest.mark.parametrize("options", [(), ("--data", "usage=[batch]")], ids=["defaults", "data"])
def test_a_destination_with_files_is_refused_and_left_unchanged(
    template: Template, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    existing = tmp_path / "project" / name
    existing.parent.mkdir(parents=True)
    existing.write_text("mine\n")
    code, output = copy(template, tmp_path / "project", *options)
    assert code == 1
    assert "project holds files already; name a new folder" in output
    assert files(tmp_path / "project") == {name: b"mine\n"}


def test_an_empty_git_repository_is_a_valid_destination(template: Template, tmp_path: Path) -> None:
    run("git", "init", "--quiet", "project", folder=tmp_path)
    code, output = copy(template, tmp_path / "project")
    assert code == 0, output
    assert (tmp_path / "project/README.md").exists()


def test_without_git_nothing_is_left_behind(template: Template, tmp_path: Path) -> None:
    code, _ = copy(template, tmp_path / "project", PATH=str(tmp_path))
    assert code == 1
    assert not (tmp_path / "project").exists()


def test_without_terminal_and_defaults_copier_stops(template: Template, tmp_path: Path) -> None:
    done = run(tool("copier"), "copy", template.url, str(tmp_path / "project"), folder=tmp_path)
    assert done.returncode == 1
    assert "Interactive session required" in done.stdout
    assert not (tmp_path / "project").exists()


COMMANDS = ["check", "test", "contract", "sample", "features", "train", "promote", "serve", "score", "config"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_before_setup_names_make_setup(render: Render, command: str) -> None:
    before = files(render())
    done = run("make", command, folder=render())
    assert done.returncode == 2
    assert "There is no environment yet: run make setup." in done.stdout
    assert files(render()) == before


def test_ci_without_a_lock_fails_and_names_it(render: Render, tmp_path: Path) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    done = run("make", f"UV={tool('uv')}", "setup", folder=folder, CI="true")
    assert done.returncode == 2
    assert "run make setup and commit uv.lock" in done.stdout
    assert not (folder / "uv.lock").exists()
    assert not (folder / ".venv").exists()


def test_setup_without_a_network_leaves_no_lock(render: Render, tmp_path: Path) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    unreachable = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    done = run("make", f"UV={tool('uv')}", "setup", folder=folder, UV_CACHE_DIR=str(tmp_path / "cache"), **unreachable)
    assert done.returncode == 2
    assert "127.0.0.1:9" in done.stdout
    assert not (folder / "uv.lock").exists()

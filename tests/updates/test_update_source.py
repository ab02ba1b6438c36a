"""The template of a repository: addresses, recorded sources and releases."""

import subprocess
from pathlib import Path

import pytest

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git
from looseleaf.update.source import Source, _address
from support.personas import commit
from support.rendering import Template


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("gh:acme/looseleaf", "https://github.com/acme/looseleaf.git"),
        ("gl:acme/looseleaf.git", "https://gitlab.com/acme/looseleaf.git"),
        ("git+https://git.example.org/x.git", "https://git.example.org/x.git"),
        ("git@git.example.org:acme/x.git", "git@git.example.org:acme/x.git"),
        ("git+ssh://git@git.example.org/x.git", "ssh://git@git.example.org/x.git"),
    ],
)
def test_an_address_has_the_same_meaning_as_in_copier(tmp_path: Path, given: str, address: str) -> None:
    assert _address(given, tmp_path, "_src_path") == address


@pytest.mark.parametrize(
    ("says", "message"), [("echo no tickets", "no tickets"), ("true", "a failing hook of your own")]
)
def test_a_failing_hook_of_the_user_is_named_or_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, message: str
) -> None:
    hook = tmp_path / "hooks/post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\n{says}\nexit 1\n")
    hook.chmod(0o755)
    (tmp_path / "config").write_text(f"[core]\n\thooksPath = {hook.parent}\n")
    git("init", "--quiet", str(tmp_path / "source"), folder=tmp_path)
    commit(tmp_path / "source", "first")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        git("clone", "--quiet", str(tmp_path / "source"), str(tmp_path / "clone"), folder=tmp_path)
    assert message in caught.value.stderr


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="does not exist"):
        _address("../gone", tmp_path, "_src_path")


@pytest.mark.parametrize(
    ("before", "named", "address"),
    [
        ("gh:acme/x", "https://github.com/acme/x.git@v0.3.0", "gh:acme/x"),
        ("gh:acme/x", "", "gh:acme/x"),
        ("/nowhere", "git@git.example.org:a/x.git@v1.0.0", "git@git.example.org:a/x.git"),
        ("https://example.org/x.git", "https://oauth2:secret@example.org/x.git", "https://example.org/x.git"),
        ("gh:acme/x", "https://oauth2:secret@example.org/x.git", "https://example.org/x.git"),
    ],
)
def test_an_equal_address_and_credentials_are_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, named: str, address: str
) -> None:
    monkeypatch.setenv("LOOSELEAF_SOURCE", named)
    monkeypatch.setattr("looseleaf.update.source.git", lambda *arguments, folder: "")
    assert Source.fetch({"_src_path": before}, tmp_path, tmp_path / "clone").address == address


@pytest.mark.parametrize(
    ("before", "installed", "address"),
    [
        ("gh:acme/x", "https://git.example.org/acme/x.git", "https://git.example.org/acme/x.git"),
        ("gh:acme/x", "https://oauth2:secret@git.example.org/x.git", "https://git.example.org/x.git"),
        ("gh:acme/x", "", "gh:acme/x"),
        # Other ways to reach the recorded repository.
        ("gh:acme/x", "ssh://git@github.com/acme/x", "gh:acme/x"),
        ("git@github.com:acme/x.git", "https://github.com/acme/x.git", "git@github.com:acme/x.git"),
    ],
)
def test_the_repository_that_the_command_was_installed_from_is_the_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, installed: str, address: str
) -> None:
    monkeypatch.delenv("LOOSELEAF_SOURCE", raising=False)
    monkeypatch.setattr("looseleaf.update.source.installed_from", lambda: (installed, ""))
    monkeypatch.setattr("looseleaf.update.source.git", lambda *arguments, folder: "")
    assert Source.fetch({"_src_path": before}, tmp_path, tmp_path / "clone").address == address


def test_releases_are_found_by_tags_and_by_the_record(tmp_path: Path) -> None:
    repository = tmp_path / "template"
    git("init", "--quiet", str(repository), folder=tmp_path)
    for version in ("v1.0.0", "v2.0.0"):
        (repository / "file.txt").write_text(version)
        Template(repository).release(version)
    first, second = (git("rev-parse", f"{tag}^{{commit}}", folder=repository) for tag in ("v1.0.0", "v2.0.0"))
    tagged = Source(repository)
    assert (tagged.newest(first), tagged.label(first)) == (second, "1.0.0")
    git("clone", "--quiet", "--no-tags", str(repository), str(tmp_path / "bare"), folder=tmp_path)
    bare = Source(tmp_path / "bare")
    assert (bare.newest(first), bare.label(first)) == (second, first[:7])
    (tmp_path / "bare/releases.toml").write_text(f'[releases]\n"1.0.0" = "{first}"\n')
    commit(tmp_path / "bare", "Recorded")
    recorded = Source(tmp_path / "bare")
    assert (recorded.newest(first), recorded.commit("1.0.0"), recorded.commit("v1.0.0")) == (first, first, first)
    assert recorded.label(second) == f"{second[:7]} (after 1.0.0)"
    described = f"v1.0.0-1-g{second[:7]}"
    assert recorded.commit(described) == second

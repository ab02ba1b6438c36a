"""Where the template is found again, from what Copier recorded."""

from pathlib import Path

import pytest

from lifecycle.errors import LifecycleError
from lifecycle.origin import recorded
from looseleaf.snapshot import IDENTITY, git


def answers(root: Path, source: str, commit: str | None) -> Path:
    """A repository that was copied from there."""
    line = f"_commit: {commit}\n" if commit else ""
    (root / ".copier-answers.yml").write_text(f"# Written by Copier\n{line}_src_path: {source}\nmodel_name: churn\n")
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, str]:
    """A git repository with one commit, and that commit."""
    folder = tmp_path / "a template"
    folder.mkdir()
    git("init", "--quiet", folder=folder)
    git("commit", "--quiet", "--allow-empty", "--message=one", folder=folder, **IDENTITY)
    return folder, git("rev-parse", "HEAD", folder=folder)


@pytest.mark.parametrize(
    ("source", "commit", "option"),
    [
        ("https://example.org/a/b.git", "v0.1.0", "--with=looseleaf @ git+https://example.org/a/b.git@v0.1.0"),
        ("git+https://example.org/a/b", "v1.0.0", "--with=looseleaf @ git+https://example.org/a/b@v1.0.0"),
        ("https://example.org/a/b", "v1.0.0-12-gabc1234", "--with=looseleaf @ git+https://example.org/a/b@abc1234"),
        ("git@example.org:a/b.git", "v1.0.0", "--with=looseleaf @ git+ssh://git@example.org/a/b.git@v1.0.0"),
        ("gh:a/b", "v1.0.0", "--with=looseleaf @ git+https://github.com/a/b.git@v1.0.0"),
    ],
)
def test_an_address_becomes_a_requirement_at_the_recorded_commit(
    tmp_path: Path, source: str, commit: str, option: str
) -> None:
    assert recorded(answers(tmp_path, source, commit), {}).option == option


@pytest.mark.parametrize("form", ["{}", "git+file://{}", "file://{}"])
def test_a_checkout_is_taken_at_the_recorded_commit(tmp_path: Path, checkout: tuple[Path, str], form: str) -> None:
    folder, commit = checkout
    found = recorded(answers(tmp_path, form.format(folder), commit[:7]), {})
    assert (found.url, found.commit) == (str(folder), commit[:7])
    assert found.option == f"--with=looseleaf @ git+{folder.as_uri()}@{commit[:7]}"


def test_a_relative_path_is_resolved_from_the_repository(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    (tmp_path / "project").mkdir()
    assert recorded(answers(tmp_path / "project", "../a template", None), {}).url == str(checkout[0])


def test_a_folder_without_a_commit_is_taken_as_it_lies(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    assert recorded(answers(tmp_path, str(checkout[0]), None), {}).option == f"--with-editable={checkout[0]}"


def test_a_commit_that_was_never_made_is_told(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    with pytest.raises(LifecycleError, match="abcdef0 in") as refused:
        recorded(answers(tmp_path, str(checkout[0]), "abcdef0"), {})
    assert "never committed" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not say where the template is"),
        ("model_name: churn\n", "does not say where the template is"),
        ("- a\n", "does not say where the template is"),
        ("_src_path: [", "does not say where the template is"),
        ("_src_path: ./nowhere\n", "there is no folder"),
    ],
)
def test_what_cannot_be_found_is_told_with_the_variable_that_names_it(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / ".copier-answers.yml").write_text(content)
    with pytest.raises(LifecycleError, match=problem) as refused:
        recorded(tmp_path, {})
    assert "LOOSELEAF_SOURCE" in refused.value.hint


def test_the_variable_goes_before_what_is_recorded(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    root = answers(tmp_path, "https://example.org/a/b.git", "v0.1.0")
    assert recorded(root, {"LOOSELEAF_SOURCE": str(checkout[0])}).option == f"--with-editable={checkout[0]}"
    named = recorded(root, {"LOOSELEAF_SOURCE": "https://example.org/c.git@main"})
    assert named.option == "--with=looseleaf @ git+https://example.org/c.git@main"


@pytest.mark.parametrize(
    ("named", "option"),
    [
        ("https://example.org/c.git", "--with=looseleaf @ git+https://example.org/c.git"),
        ("git@example.org:a/c.git", "--with=looseleaf @ git+ssh://git@example.org/a/c.git"),
        ("git@example.org:a/c.git@v1.0.0", "--with=looseleaf @ git+ssh://git@example.org/a/c.git@v1.0.0"),
        ("gh:a/c", "--with=looseleaf @ git+https://github.com/a/c.git"),
    ],
)
def test_an_address_without_a_reference_names_what_is_there_now(tmp_path: Path, named: str, option: str) -> None:
    assert recorded(tmp_path, {"LOOSELEAF_SOURCE": named}).option == option


def test_a_folder_may_be_named_in_every_form_of_a_repository(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    folder = checkout[0]
    git("clone", "--quiet", "--bare", str(folder), str(tmp_path / "bare.git"), folder=tmp_path)
    (tmp_path / "at@home").mkdir()

    def option(named: str) -> str:
        return recorded(tmp_path, {"LOOSELEAF_SOURCE": named}).option

    bare = (tmp_path / "bare.git").as_uri()
    assert option("bare.git") == f"--with=looseleaf @ git+{bare}"
    assert option(f"git+{bare}@main") == f"--with=looseleaf @ git+{bare}@main"
    assert option("a template@v1") == f"--with=looseleaf @ git+{folder.as_uri()}@v1"
    assert option(folder.as_uri().replace("%20", " ")) == f"--with-editable={folder}"
    assert option("at@home") == f"--with-editable={tmp_path / 'at@home'}"

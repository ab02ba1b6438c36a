"""`template_source.py` finds the template from what Copier recorded or from LOOSELEAF_SOURCE."""

from pathlib import Path

import pytest
import yaml
from template_source import Source, SourceError, template_source

from looseleaf.snapshot import IDENTITY, git


def copied_from(root: Path, source: str, commit: str | None) -> Path:
    """Write the answers file of a repository that was copied from a source."""
    line = f"_commit: {commit}\n" if commit else ""
    (root / ".copier-answers.yml").write_text(f"# Written by Copier\n{line}_src_path: {source}\nmodel_name: churn\n")
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, str]:
    """Return a git repository with one commit, and that commit."""
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
    assert template_source(copied_from(tmp_path, source, commit), {}).option == option


@pytest.mark.parametrize("form", ["{}", "git+file://{}", "file://{}"])
def test_a_local_checkout_is_used_at_the_recorded_commit(tmp_path: Path, checkout: tuple[Path, str], form: str) -> None:
    folder, commit = checkout
    found = template_source(copied_from(tmp_path, form.format(folder), commit[:7]), {})
    assert (found.url, found.commit) == (str(folder), commit[:7])
    assert found.option == f"--with=looseleaf @ git+{folder.as_uri()}@{commit[:7]}"


def test_a_relative_path_is_resolved_from_the_repository(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    (tmp_path / "project").mkdir()
    assert template_source(copied_from(tmp_path / "project", "../a template", None), {}).url == str(checkout[0])


def test_without_a_recorded_commit_a_folder_is_installed_editable(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    root = copied_from(tmp_path, str(checkout[0]), None)
    assert template_source(root, {}).option == f"--with-editable={checkout[0]}"


@pytest.mark.parametrize(
    "name",
    ["plain", "it's, #1: quoted", "with \t a tab and ü", "x" * 70 + " folded " + "y" * 70, "1.10"],
)
def test_every_address_that_copier_writes_is_read(tmp_path: Path, name: str) -> None:
    written = yaml.dump({"_commit": "1234567", "_src_path": f"https://host/{name}"}, allow_unicode=True)
    (tmp_path / ".copier-answers.yml").write_text(f"# Written by Copier\n{written}model_name: churn\n")
    assert template_source(tmp_path, {}) == Source(f"https://host/{name}", "1234567")


def test_a_recorded_commit_that_does_not_exist_is_an_error(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    root = copied_from(tmp_path, str(checkout[0]), "abcdef0")
    with pytest.raises(SourceError, match="abcdef0 is not a commit or tag of") as refused:
        template_source(root, {})
    assert "uncommitted changes" in str(refused.value)
    with pytest.raises(SourceError, match="LOOSELEAF_SOURCE: v9 is not a commit or tag of"):
        template_source(root, {"LOOSELEAF_SOURCE": f"{checkout[0]}@v9"})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not name the template"),
        ("model_name: churn\n", "does not name the template"),
        ("- a\n", "does not name the template"),
        ("_src_path: [", "does not exist"),
        ("_src_path: ./nowhere\n", "does not exist"),
    ],
)
def test_an_error_names_the_variable_that_sets_the_source(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / ".copier-answers.yml").write_text(content)
    with pytest.raises(SourceError, match=problem) as refused:
        template_source(tmp_path, {})
    assert "LOOSELEAF_SOURCE" in str(refused.value)


def test_the_variable_overrides_the_recorded_source(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    root = copied_from(tmp_path, "https://example.org/a/b.git", "v0.1.0")
    assert template_source(root, {"LOOSELEAF_SOURCE": str(checkout[0])}).option == f"--with-editable={checkout[0]}"
    named = template_source(root, {"LOOSELEAF_SOURCE": "https://example.org/c.git@main"})
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
def test_an_address_without_a_reference_means_its_newest_state(tmp_path: Path, named: str, option: str) -> None:
    assert template_source(tmp_path, {"LOOSELEAF_SOURCE": named}).option == option


def test_the_variable_accepts_every_form_of_a_local_repository(tmp_path: Path, checkout: tuple[Path, str]) -> None:
    folder = checkout[0]
    git("branch", "--move", "main", folder=folder)
    git("tag", "v1", folder=folder)
    git("clone", "--quiet", "--bare", str(folder), str(tmp_path / "bare.git"), folder=tmp_path)
    (tmp_path / "at@home").mkdir()

    def option(named: str) -> str:
        return template_source(tmp_path, {"LOOSELEAF_SOURCE": named}).option

    bare = (tmp_path / "bare.git").as_uri()
    assert option("bare.git") == f"--with=looseleaf @ git+{bare}"
    assert option(f"git+{bare}@main") == f"--with=looseleaf @ git+{bare}@main"
    assert option("a template@v1") == f"--with=looseleaf @ git+{folder.as_uri()}@v1"
    assert option(folder.as_uri().replace("%20", " ")) == f"--with-editable={folder}"
    assert option("at@home") == f"--with-editable={tmp_path / 'at@home'}"

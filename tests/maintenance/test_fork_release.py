"""Releases of a company's fork: on top of a release of upstream, with a changelog and a record of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from looseleaf.update.source import Source
from maintenance.history import check
from support.releasing import commit, release, state

RUNTIME = "template/lifecycle/src/lifecycle/__init__.py"


def describe(root: Path, name: str, text: str) -> None:
    """Write a text below "Not released", above the earlier sections."""
    path, heading = root / name, "## Not released\n"
    path.parent.mkdir(exist_ok=True)
    changelog = path.read_text() if path.exists() else f"# Changes\n\n{heading}"
    path.write_text(changelog.replace(heading, f"{heading}\n{text}\n", 1))
    commit(root, f"Describe a change in {name}")


def merge(fork: Path, tag: str) -> None:
    """Merge a release of upstream as docs/updating.md says."""
    git("fetch", "--quiet", "upstream", "tag", tag, folder=fork)
    git("merge", "--quiet", "--no-edit", tag, folder=fork)


@pytest.fixture
def upstream(checkout: Path) -> Path:
    """Return the template with a second release."""
    assert release(checkout, "release", "0.2.0").returncode == 0
    return checkout


@pytest.fixture
def fork(upstream: Path, tmp_path: Path) -> Path:
    """Return a fork that starts at the release and describes its first change."""
    folder = tmp_path / "fork"
    git("clone", "--quiet", "--no-tags", "--origin=upstream", str(upstream), str(folder), folder=tmp_path)
    git("fetch", "--quiet", "upstream", "tag", "v0.2.0", folder=folder)
    git("reset", "--quiet", "--hard", "v0.2.0", folder=folder)
    describe(folder, "fork/CHANGELOG.md", "Our index.\n\n### What you do\n\n- Log in to our index.")
    return folder


def test_a_fork_releases_on_top_of_upstream_and_merges_its_next_release_without_a_conflict(
    fork: Path, upstream: Path, tmp_path: Path
) -> None:
    for version in ("0.2.0.post1", "0.2.0.post2"):
        done = release(fork, "release", version)
        assert done.returncode == 0, done.stdout
        assert check(fork) == []
        for at, expected in ((f"v{version}", version), ("HEAD", "0.2.0")):
            assert f'__version__ = "{expected}"' in git("show", f"{at}:{RUNTIME}", folder=fork)
            assert f'version = "{expected}"' in git("show", f"{at}:pyproject.toml", folder=fork)
        describe(fork, "fork/CHANGELOG.md", f"More.\n\n### What you do\n\n- Read what follows {version}.")
    changed = git("diff", "--name-only", "v0.2.0", "HEAD", "--", ":!*manifest*", folder=fork)
    assert changed.split() == ["fork/CHANGELOG.md", "fork/releases.toml"]
    describe(upstream, "CHANGELOG.md", "Faster.\n\n### What you do\n\n- Set a budget.")
    assert release(upstream, "release", "0.3.0").returncode == 0
    describe(upstream, "CHANGELOG.md", "Not finished.")
    merge(fork, "v0.3.0")
    assert check(fork) == []
    done = release(fork, "release", "0.3.0.post1")
    assert done.returncode == 0, done.stdout
    assert check(fork) == []

    # An update needs no tags, because a clone may come without them.
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--no-tags", str(fork), str(clone), folder=tmp_path)
    source = Source(clone)
    before, after = source.commit("0.2.0.post1"), source.commit("0.3.0.post1")
    assert source.commit("v0.3.0") == git("rev-parse", "v0.3.0^{commit}", folder=upstream)
    assert source.newest(before) == source.newest(source.commit("0.2.0")) == after
    assert source.tasks(before, after) == [
        "0.2.0.post2: Read what follows 0.2.0.post1.",
        "0.3.0: Set a budget.",
        "0.3.0.post1: Read what follows 0.2.0.post2.",
    ]


def merge_unreleased_work(fork: Path) -> None:
    git("merge", "--quiet", "--no-edit", "upstream/main", folder=fork)


def edit_the_changelog_of_upstream(fork: Path) -> None:
    describe(fork, "CHANGELOG.md", "Ours.")


def describe_nothing(fork: Path) -> None:
    git("rm", "--quiet", "-r", "fork", folder=fork)
    commit(fork, "Describe nothing")


def set_the_index(fork: Path) -> None:
    (fork / "org.yml").write_text('org_runner:\n  default: ""\norg_index_url:\n  default: https://pip.example.org/\n')
    commit(fork, "Our index")


@pytest.mark.parametrize(
    ("spoil", "version", "reason"),
    [
        (merge_unreleased_work, "0.2.0.post1", "Work that upstream has not released is in no release of a fork"),
        (edit_the_changelog_of_upstream, "0.2.0.post1", "Changes of the fork are described in fork/CHANGELOG.md"),
        (describe_nothing, "0.2.0.post1", "fork/CHANGELOG.md has no text below ## Not released"),
        (set_the_index, "0.3.0", "org.yml has values, so this is a fork"),
        (set_the_index, "0.3.0.post1", "git fetch upstream tag v0.3.0 && git merge v0.3.0"),
        (set_the_index, "0.1.0.post1", "This is not 0.1.0 with changes of a fork"),
    ],
)
def test_a_release_of_a_fork_is_refused_with_a_reason(
    fork: Path, spoil: Callable[[Path], None], version: str, reason: str
) -> None:
    spoil(fork)
    before = state(fork)
    done = release(fork, "release", version)
    assert (done.returncode, "Traceback" in done.stdout) == (1, False), done.stdout
    assert reason in done.stdout
    assert state(fork) == before

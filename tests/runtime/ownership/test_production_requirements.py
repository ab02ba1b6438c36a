"""Production requires complete and committed owners, settings and agreement."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.ownership.approvals import open_questions
from lifecycle.registry import deployments
from looseleaf.snapshot import IDENTITY, git
from support.approving import PAGE, SOON, Repository, approved, filled
from support.owned import commit

LACKING: dict[str, tuple[str, str, str, str]] = {
    "no owner": ("OWNERS", '["cy"]', "[]", "product has no owner yet"),
    "a review that is due": ("OWNERS", SOON, "2026-01-31", "the review was due on 2026-01-31"),
    "a defect": ("OWNERS", "^notebooks/", "^notebook/", "matches no file"),
    "no OWNERS": ("OWNERS", "", "", "the file is missing"),
    "an open question": (
        "docs/agreement.md",
        "| No prediction | filled |",
        "| No prediction | |",
        "the text is missing: No prediction",
    ),
    "no agreement": ("docs/agreement.md", "", "", "docs/agreement.md is missing"),
}


@pytest.mark.parametrize("name", LACKING)
def test_production_requires_owners_and_agreement(here: Repository, name: str) -> None:
    file, old, new, problem = LACKING[name]
    approved(here, "cy")
    path = here.root / file
    if old:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    else:
        path.unlink()
    commit(here.root)
    here.git("ana@example.org")
    code, output = here.call("promote")
    assert code == 1
    assert problem in output
    if name in ("an open question", "no agreement"):
        assert "Fill it in, and commit." in output
    assert here.call("promote", environment="staging")[0] == 0


def away(root: Path) -> None:
    """Remove the need for an approval from OWNERS."""
    path = root / "OWNERS"
    text = path.read_text(encoding="utf-8").replace("promote: [data-science, product]", "promote: [data-science]")
    path.write_text(text, encoding="utf-8")


def away_unseen(root: Path) -> None:
    """Do the same, and mark the file so that git status does not show it."""
    away(root)
    git("update-index", "--assume-unchanged", "OWNERS", folder=root)
    assert git("status", "--porcelain", folder=root) == ""


def untracked(root: Path) -> None:
    """Make git ignore a setting."""
    git("rm", "--quiet", "--cached", "config/base.yaml", folder=root)
    git("-c", "commit.gpgsign=false", "commit", "--quiet", "--message=out", folder=root, **IDENTITY)
    (root / ".git/info/exclude").write_text("config/base.yaml\n", encoding="utf-8")
    assert git("status", "--porcelain", folder=root) == ""


EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "OWNERS": (away, "OWNERS differs from the last commit"),
    "OWNERS unseen": (away_unseen, "OWNERS differs from the last commit"),
    "OWNERS staged": (lambda root: (away(root), git("add", "OWNERS", folder=root)), "OWNERS differs"),
    "a page": (lambda root: (root / "docs/agreement.md").write_text("We agreed.\n"), "docs/agreement.md differs"),
    "a setting": (
        lambda root: (root / "config/base.yaml").write_text("gate: {min_rows: 1}\n"),
        "config/base.yaml differs",
    ),
    "a setting that is gone": (
        lambda root: (root / "config/base.yaml").unlink(),
        "config/base.yaml differs",
    ),
    "an ignored setting": (untracked, "config/base.yaml differs from the last commit"),
    "no git": (lambda root: shutil.rmtree(root / ".git"), "git has no commit at"),
    "no commit": (lambda root: git("update-ref", "-d", "HEAD", folder=root), "git has no commit at"),
}


@pytest.mark.parametrize("name", EDITS)
def test_production_uses_only_committed_files(here: Repository, name: str) -> None:
    edit, problem = EDITS[name]
    if "OWNERS" not in name:
        approved(here, "cy")
    # Known by the host, so that it is the work tree alone that differs.
    here.ci("ana")
    edit(here.root)
    code, output = here.call("promote")
    assert code == 1
    assert problem in output
    assert deployments.read(here.store, "production") is None
    assert here.call("promote", environment="staging")[0] == 0


def test_an_uncommitted_edit_makes_no_approver(here: Repository) -> None:
    path = here.root / "OWNERS"
    path.write_text(path.read_text(encoding="utf-8").replace('["cy"]', '["eve"]'), encoding="utf-8")
    for name in ("eve", "cy"):
        here.ci(name)
        code, output = here.call("approve")
        assert code == 1
        assert "OWNERS differs from the last commit: commit it" in output
    git("stash", folder=here.root)
    here.ci("eve")
    code, output = here.call("approve")
    assert code == 1
    assert "eve (from a CI variable; recorded, not verified) holds no role in OWNERS" in output
    git("stash", "pop", folder=here.root)
    commit(here.root)
    assert here.call("approve")[0] == 0
    shutil.rmtree(here.root / ".git")
    code, output = here.call("approve")
    assert code == 1
    assert "git has no commit at" in output


def test_a_repository_within_another_is_compared_by_its_own_files(here: Repository) -> None:
    shutil.rmtree(here.root / ".git")
    git("init", "--quiet", folder=here.root.parent)
    git("add", "churn", folder=here.root.parent)
    commit(here.root)
    approved(here, "cy")
    here.ci("ana")
    code, output = here.call("promote")
    assert code == 0, output
    away(here.root)
    assert here.call("promote", here.versions[0])[0] == 1


def test_the_audit_names_the_commit_that_decided(here: Repository) -> None:
    approved(here, "cy")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 0
    code = {"commit": git("rev-parse", "HEAD", folder=here.root), "edited": False}
    assert here.audit()[-1]["evidence"]["code"] == code


def test_half_a_line_of_a_killed_writer_does_not_block_production(here: Repository) -> None:
    assert here.call("promote", environment="local")[0] == 0
    with here.store.audit.open("ab") as file:
        file.write(b'{"after": "5e')
    approved(here, "cy")
    here.git("ana@example.org")
    code, output = here.call("promote")
    assert code == 0, output


def test_the_rendered_agreement_has_open_questions_and_a_filled_one_has_none(tmp_path: Path) -> None:
    page = tmp_path / "docs/agreement.md"
    page.parent.mkdir()
    page.write_text(PAGE, encoding="utf-8")
    problem = open_questions(tmp_path)
    assert (
        len(problem) == PAGE.count("?") - PAGE[: PAGE.index("##")].count("?") + 3 + 4 - PAGE.count("two questions")
        or problem
    )
    lines = PAGE.splitlines()
    for each in problem:
        _, number, problem, question = each.split(":", 3)
        assert problem == " the text is missing"
        assert lines[int(number) - 1].startswith(f"| {question.strip()} |")
    page.write_text(filled(PAGE), encoding="utf-8")
    assert open_questions(tmp_path) == []
    page.write_text("We agreed on | everything | in the meeting of May.\n", encoding="utf-8")
    assert open_questions(tmp_path) == []
    page.write_text(" \n", encoding="utf-8")
    assert open_questions(tmp_path) == ["docs/agreement.md is empty"]


@pytest.mark.parametrize(
    ("row", "open"),
    [
        ("| a | b | c |", False),
        ("| a | b |  |", True),
        ("| a | | c |", True),
        ("| a |", True),
        ("| a \\| b | c | d |", False),
        ("| a | b \\| | |", True),
        ("| | b | c |", False),
        ("|a|b|c", False),
        ("|a||", True),
    ],
)
def test_an_empty_cell_after_the_first_is_an_open_question(tmp_path: Path, row: str, open: bool) -> None:
    (tmp_path / "docs").mkdir()
    text = f"# Page\n\n| | head | |\n|---|:--|--:|\n{row}\n"
    (tmp_path / "docs/agreement.md").write_text(text, encoding="utf-8")
    assert [each.split(":")[1] for each in open_questions(tmp_path)] == (["5"] if open else [])

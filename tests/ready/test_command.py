"""`looseleaf ready` on prepared evidence: exit codes, terminal, page, Annex IV, and evidence that cannot be read."""

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from looseleaf.cli import main
from looseleaf.snapshot import git, identity
from support.ready_tree import BUNDLE, DECISION, NOW, Tree, write

PAGE, ANNEX = "build/ready/readiness.html", "build/ready/annex-iv.md"


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write(tmp_path_factory.mktemp("ready") / "repository")


@pytest.fixture
def tree(complete: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    copy = Tree(Path(shutil.copytree(complete.folder, tmp_path / "repository")))
    monkeypatch.chdir(copy.folder)
    monkeypatch.setattr("lifecycle.timestamps.clock", lambda: float(NOW))
    return copy


def ready(*options: str) -> int:
    return main(["ready", "--dry-run", *options])


def test_a_score_at_the_limit_ends_with_0_and_one_below_with_3(tree: Tree, capsys: Any) -> None:
    (tree.folder / "config/base.yaml").write_text("gate: {readiness: 7}\n", encoding="utf-8")
    assert ready() == 0
    assert "ML Test Score: 7 (the lowest sum; gate.readiness is 7)" in capsys.readouterr().out
    tree.json(BUNDLE, lambda document: document["code"].update(edited=True))
    assert ready() == 3
    output = " ".join(capsys.readouterr().out.split())
    assert "Model development: 6 of 7" in output
    assert "trained from files that are in no commit -> name the data scientists in OWNERS, commit;" in output


def test_the_page_has_every_row_both_themes_and_no_other_host(tree: Tree) -> None:
    tree.json(DECISION, lambda document: document.update(verdict="<b>failed"))
    ready()
    text = (tree.folder / PAGE).read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<script" not in text
    assert "&lt;b&gt;failed" in text
    assert all(row.title in html.unescape(text) for row in tree.score().rows)
    assert text.count("Earn it:") == 1
    assert "Model development: 7 of 7" in text


def test_an_agreement_with_empty_fields_is_named_line_by_line(tree: Tree, capsys: Any) -> None:
    tree.text("docs/agreement.md", "a year; none", "")
    assert ready() == 0
    output = " ".join(capsys.readouterr().out.split())
    question = "docs/agreement.md:6: the text is missing: How long, and whose data must never be in them?"
    assert f"Open in docs/agreement.md: {question}" in output
    assert question in (tree.folder / PAGE).read_text(encoding="utf-8")


def test_without_a_deployment_nothing_counts_and_the_command_is_named(tree: Tree, capsys: Any) -> None:
    (tree.folder / "storage/deployments/local.json").unlink()
    assert ready() == 3
    output = capsys.readouterr().out
    assert "no version in local: nothing is deployed in local; make train promote" in output
    assert output.count("-> make train promote") == 28
    assert "Nothing counts" in (tree.folder / PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("storage/deployments/local.json", "{", "is not a valid deployment"),
        ("contract.json", "[]", "contract.json is not a contract"),
        ("config/base.yaml", "gate: {readyness: 1}", "there is no setting gate.readyness; is gate.readiness meant?"),
        ("config/base.yaml", "gate: {readiness: 9}", "gate.readiness"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_and_no_page_is_written(
    tree: Tree, name: str, text: str, problem: str, capsys: Any
) -> None:
    (tree.folder / name).write_text(text, encoding="utf-8")
    assert ready() == 1
    assert problem in capsys.readouterr().err
    assert not (tree.folder / PAGE).exists()


@pytest.mark.parametrize("name", [DECISION, "build/tests.xml", "build/ready/drills.json"])
def test_damaged_evidence_counts_as_none(tree: Tree, name: str) -> None:
    before = tree.lost()
    (tree.folder / name).write_text("<{", encoding="utf-8")
    assert ready() in (0, 3)
    assert tree.lost() > before


def test_annex_iv_has_nine_sections_names_its_gaps_and_claims_no_compliance(tree: Tree) -> None:
    assert ready("--annex") == 0
    text = (tree.folder / ANNEX).read_text(encoding="utf-8")
    assert re.findall(r"^## (\d)\.", text, re.M) == [str(number) for number in range(1, 10)]
    assert "claims no compliance" in " ".join(text.split())
    assert "How long, and whose data must never be in them? a year; none" in text
    assert "SHA-256 d1" in text
    assert "promote of" in text
    sections = re.split(r"^## \d\..*$", text, flags=re.M)[1:]
    assert all("**Gap:**" in section for section in (sections[0], *sections[1:3], *sections[4:5], *sections[6:]))
    tree.text("docs/agreement.md", "a year; none", "")
    ready("--annex")
    text = (tree.folder / ANNEX).read_text(encoding="utf-8")
    assert "whose data must never be in them? **Gap:** docs/agreement.md does not say it." in text


def test_questions_that_an_agreement_words_otherwise_are_gaps_in_annex_iv(tree: Tree) -> None:
    gap = "**Gap:** docs/agreement.md has no row that begins with these words."
    tree.text("docs/agreement.md", "| How long, and", "| **HOW LONG** are rows kept, and")
    ready("--annex")
    text = (tree.folder / ANNEX).read_text(encoding="utf-8")
    assert "\n- **HOW LONG** are rows kept, and whose data must never be in them? a year; none\n" in text
    missing = re.findall(rf"^- (.*) … {re.escape(gap)}$", text, re.M)
    assert missing == [
        *("Product metric", "Who acts", "How is the effect", "Without the model", "Predicted"),
        *("Below which", "When is it reviewed", "When is the model retired"),
    ]
    tree.text("docs/agreement.md", "**HOW LONG**", "Period for which")
    ready("--annex")
    assert f"\n- How long … {gap}\n" in (tree.folder / ANNEX).read_text(encoding="utf-8")


def test_ready_leaves_no_untracked_file_where_an_older_release_does_not_ignore_build(tree: Tree) -> None:
    tree.text(".gitignore", "/build/\n", "")
    git("commit", "--all", "--quiet", "--message", "older", folder=tree.folder, **identity(NAME="ana", EMAIL="a@b"))
    (tree.folder / "build/.gitignore").unlink(missing_ok=True)
    ready()
    assert (tree.folder / PAGE).exists()
    assert git("status", "--porcelain", folder=tree.folder) == ""


def test_a_bundle_of_release_0_2_0_is_evaluated_and_loses_the_rows_whose_facts_it_lacks(tree: Tree) -> None:
    lacking = ("lifecycle", "benefits", "slices", "dominant")

    def older(document: dict[str, Any]) -> None:
        for name in lacking:
            del document[name]
        del document["settings"]["windows"]

    before = tree.lost()
    tree.json(BUNDLE, older)
    assert ready("--annex") in (0, 3)
    assert tree.lost() > before
    assert "made by lifecycle of release 0.2.0 or older" in (tree.folder / ANNEX).read_text(encoding="utf-8")
    assert all(row.command for row in tree.score().rows if row.points == 0)

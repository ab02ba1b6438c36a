"""Production asks the roles that decide, and knows people by what git or the CI host says of them."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle.cli import entry
from lifecycle.ownership.agreement import open_questions
from lifecycle.ownership.repository import roles
from lifecycle.registry import audit, deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.storage import Store
from lifecycle.training.train import train
from looseleaf.snapshot import IDENTITY, git
from support.owned import PEOPLE, commit, owners_text, repository
from support.rendering import TEMPLATE
from support.teams import order_team, settings_in

PAGE = (TEMPLATE / "docs/agreement.md.jinja").read_text(encoding="utf-8")
SOON = str(date.today() + timedelta(30))
OWNERS = owners_text().replace("2027-06-30", SOON)


def filled(page: str) -> str:
    """The page with something in every cell."""
    while "| |" in page:
        page = page.replace("| |", "| said |")
    return page


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with two versions; the second was compared with the first and is better."""
    folder = tmp_path_factory.mktemp("trained")
    settings, team = settings_in(folder), order_team()
    shallow = HistGradientBoostingClassifier(max_iter=4, max_depth=2)
    weak = SimpleNamespace(candidate=lambda inputs, seed: shallow, baselines=team.estimator.baselines)
    first = train(replace(team, estimator=weak), settings, folder)
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), action="promote", who="ana", why="")
    train(team, settings, folder)
    return settings.storage


@dataclass(frozen=True)
class Repository:
    """A repository and its storage, seen by whoever is set with `git` or `ci`; `call` is one verb in production."""

    root: Path
    store: Store
    patch: pytest.MonkeyPatch
    said: Callable[[], Any]

    def git(self, address: str | None) -> None:
        """Let git say that it is them; nobody for None."""
        for variable in ("GITHUB_ACTIONS", "GITHUB_ACTOR"):
            self.patch.delenv(variable, raising=False)
        self.patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        words = ["user.email", address] if address else ["--unset", "user.email"]
        subprocess.run(["git", "-C", self.root, "config", *words], check=True)

    def ci(self, handle: str) -> None:
        """Let the CI host say that it is them."""
        self.patch.setenv("GITHUB_ACTIONS", "true")
        self.patch.setenv("GITHUB_ACTOR", handle)

    def call(self, *words: str, environment: str = "production") -> tuple[int, str]:
        """The exit code of a verb and all that it said."""
        code = entry.main([*words, "--environment", environment])
        told = self.said()
        return code, told.out + told.err

    def owners(self, old: str, new: str) -> None:
        """Change OWNERS, and commit it."""
        text = (self.root / "OWNERS").read_text(encoding="utf-8")
        assert old in text
        (self.root / "OWNERS").write_text(text.replace(old, new), encoding="utf-8")
        commit(self.root)

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit."""
        return [json.loads(line) for line in self.store.audit.read_bytes().splitlines()]

    @property
    def versions(self) -> list[str]:
        """Both versions, the older first."""
        return self.store.versions()


@pytest.fixture
def here(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Repository:
    """A repository of three people with a filled agreement, and nothing deployed; ana works in it."""
    root = repository(tmp_path / "churn", OWNERS)
    (root / "docs/agreement.md").write_text(filled(PAGE), encoding="utf-8")
    commit(root)
    store = Store(tmp_path / "storage")
    store.root.mkdir()
    store.bundles.symlink_to(trained / "bundles")
    monkeypatch.chdir(root)
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(store.root))
    made = Repository(root, store, monkeypatch, capsys.readouterr)
    made.git("ana@example.org")
    return made


def approved(here: Repository, handle: str, *words: str) -> None:
    here.ci(handle)
    code, said = here.call("approve", *words)
    assert code == 0, said


def test_production_waits_for_the_role_that_has_not_approved(here: Repository) -> None:
    newest = here.versions[-1]
    code, said = here.call("promote")
    assert code == 1
    assert f"error: {newest} is not promoted in production" in said
    command = f"`make approve VERSION={newest} ENVIRONMENT=production`"
    assert f"product decides promote and has not approved (cy): {command}" in said
    assert "data-science decides" not in said
    assert deployments.read(here.store, "production") is None


def test_an_approval_from_the_ci_host_lets_it_answer_and_stays_on_record(here: Repository) -> None:
    approved(here, "CY", "--why", "calls are worth it")
    here.git("ana@example.org")
    code, said = here.call("promote", "--why", "better")
    assert code == 0, said
    first, second = here.audit()
    assert (first["action"], first["who"], first["source"], first["roles"]) == ("approve", "CY", "ci", ["product"])
    assert (first["environment"], first["version"]) == ("production", here.versions[-1])
    assert (second["who"], second["evidence"]["source"]) == ("ana@example.org", "git")
    deployed = deployments.read(here.store, "production")
    assert deployed is not None
    assert deployed.owners == {"data-science": ["ana"], "engineering": ["acme/eng"], "product": ["cy"]}
    [used] = second["evidence"]["approvals"]
    assert (used["who"], used["source"], used["why"]) == ("CY", "ci", "calls are worth it")


def test_an_approval_known_by_gits_address_counts_as_much(here: Repository) -> None:
    assert here.call("approve")[0] == 0
    here.ci("cy")
    assert here.call("promote")[0] == 0
    assert here.audit()[1]["evidence"]["approvals"][0]["who"] == "ana@example.org"
    assert (here.audit()[1]["who"], here.audit()[1]["evidence"]["source"]) == ("cy", "ci")


def test_a_member_stands_for_the_team(here: Repository) -> None:
    here.owners("promote: [data-science, product]", "promote: [data-science, engineering]")
    approved(here, "bo")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 0


@pytest.mark.parametrize("environment", ["local", "staging"])
def test_local_and_staging_ask_nobody(here: Repository, environment: str) -> None:
    (here.root / "OWNERS").write_text("a: [", encoding="utf-8")
    (here.root / "docs/agreement.md").unlink()
    here.git(None)
    code, said = here.call("promote", environment=environment)
    assert code == 0, said
    code, said = here.call("approve", environment=environment)
    assert code == 1
    assert f"nobody is asked for an approval in {environment}" in said


def test_a_login_name_and_a_variable_somebody_typed_stand_for_nobody(here: Repository) -> None:
    here.git(None)
    for name in ("LOGNAME", "USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        here.patch.setenv(name, "cy")
    code, said = here.call("approve")
    assert code == 1
    assert "cy (as login says) stands for no role" in said
    assert "a login name is not enough" in said
    code, said = here.call("promote")
    assert code == 1
    assert "data-science decides promote" in said
    assert "product decides promote" in said
    assert not here.store.audit.exists()


@pytest.mark.parametrize("address", ["eve@example.org", "cy", "bo@example.org.evil.example"])
def test_an_address_that_owners_gives_to_nobody_cannot_approve(here: Repository, address: str) -> None:
    here.git(address)
    code, said = here.call("approve")
    assert code == 1
    assert f"people: {{ana: [{address}]}}" in said


def test_an_approval_is_for_one_version(here: Repository) -> None:
    older, newer = here.versions
    approved(here, "cy", older)
    here.git("ana@example.org")
    assert here.call("promote", newer)[0] == 1
    assert here.call("promote", older)[0] == 0


def test_an_approval_is_used_up_when_the_version_answers(here: Repository) -> None:
    for version in here.versions:
        approved(here, "cy", version)
        here.git("ana@example.org")
        assert here.call("promote", version)[0] == 0
    assert here.call("rollback")[0] == 0
    code, said = here.call("promote", here.versions[-1])
    assert code == 1
    assert "product decides promote and has not approved" in said


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": [0.5]},
        {"threshold": {}},
        {"threshold": "0.5"},
        {"who": ["cy"]},
        {"source": "me"},
        {"roles": "product"},
        {"version": ["x"]},
        {"environment": None},
        {"action": []},
    ],
    ids=str,
)
def test_a_line_of_another_shape_is_no_approval(here: Repository, change: dict[str, Any]) -> None:
    approved(here, "cy")
    [line] = here.audit()
    here.store.audit.unlink()
    audit.append(here.store, line | change)
    here.git("ana@example.org")
    code, said = here.call("promote")
    assert code == 1
    assert "product decides promote and has not approved" in said
    audit.append(here.store, {name: value for name, value in line.items() if name != "after"})
    assert here.call("promote")[0] == 0


def test_who_left_the_role_since_has_approved_nothing(here: Repository) -> None:
    approved(here, "cy")
    here.owners('["cy"]', '["dee"]')
    here.git("ana@example.org")
    code, said = here.call("promote")
    assert code == 1
    assert "has not approved (dee)" in said


def test_another_threshold_asks_who_decides_it(here: Repository) -> None:
    approved(here, "cy")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 0
    code, said = here.call("promote", "--threshold", "0.3")
    assert code == 1
    assert "product decides change-threshold and has not approved (cy)" in said
    assert "THRESHOLD=0.3" in said
    for words in ([], ["--threshold", "0.4"]):
        approved(here, "cy", *words)
        here.git("ana@example.org")
        assert here.call("promote", "--threshold", "0.3")[0] == 1
    approved(here, "cy", "--threshold", "0.3")
    here.git("ana@example.org")
    assert here.call("promote", "--threshold", "0.3")[0] == 0
    here.ci("cy")
    assert here.call("promote", "--threshold", "0.2")[0] == 0, "who decides needs no approval"


def test_an_approval_of_one_threshold_is_none_of_another(here: Repository) -> None:
    approved(here, "cy", "--threshold", "0.3")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 1
    assert here.call("promote", "--threshold", "0.3")[0] == 0
    assert here.call("approve", "--threshold", "3")[0] == 1


def test_a_rollback_asks_nobody_and_says_who(here: Repository) -> None:
    for version in here.versions:
        approved(here, "cy", version)
        here.git("ana@example.org")
        assert here.call("promote", version)[0] == 0
    (here.root / "docs/agreement.md").unlink()
    here.git("eve@example.org")
    assert here.call("rollback", "--why", "odd answers")[0] == 0
    line = here.audit()[-1]
    assert (line["action"], line["who"], line["evidence"]["source"]) == ("rollback", "eve@example.org", "git")
    assert line["owners"] == {"data-science": ["ana"], "engineering": ["acme/eng"], "product": ["cy"]}


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"a: [",
        b"\xff",
        b"[" * 60_000,
        b"x-ownership: {github-ruleset: {a/b: %s}}" % (b"1" * 5_000),
        b'x-ownership: {roles: {"\\ud800": [ana]}}',
    ],
    ids=["a folder", "no YAML", "no text", "too deep", "an id without end", "half a pair"],
)
def test_a_rollback_does_not_depend_on_owners(here: Repository, content: bytes | None) -> None:
    for version in here.versions:
        assert here.call("promote", version, environment="local")[0] == 0
    path = here.root / "OWNERS"
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    code, said = here.call("rollback", environment="local")
    assert code == 0, said
    assert deployments.required(here.store, "local").owners == {}


def test_a_rollback_survives_what_no_reader_foresaw(here: Repository) -> None:
    def fail(content: bytes) -> None:
        raise ZeroDivisionError

    here.patch.setattr("lifecycle.ownership.repository.read", fail)
    assert roles(here.root) == {}


def test_one_author_with_a_waiver_decides_alone(here: Repository) -> None:
    alone = owners_text({role: ["ana"] for role in PEOPLE}).replace("2027-06-30", SOON)
    (here.root / "OWNERS").write_text(alone, encoding="utf-8")
    commit(here.root)
    code, said = here.call("promote")
    assert code == 1
    assert "one pair of eyes" in said
    assert "Name a second person, or `waiver: {until: …, why: …}` of at most 90 days." in said
    here.owners("  review_by", f"  waiver: {{until: {SOON}, why: the second starts in spring}}\n  review_by")
    code, said = here.call("promote")
    assert code == 0, said


def test_an_approval_names_the_commit_where_owners_is_mended_but_not_committed(here: Repository) -> None:
    here.owners('["cy"]', '["@cy"]')
    path = here.root / "OWNERS"
    path.write_text(path.read_text(encoding="utf-8").replace("@cy", "cy"), encoding="utf-8")
    code, said = here.call("approve")
    assert code == 1
    assert "'@cy' in product is no handle" in said
    assert "as the last commit holds it: hint it, and commit." in said


def test_an_author_whom_owners_does_not_know_is_told_what_is_missing(here: Repository) -> None:
    here.git("ana@elsewhere.org")
    code, said = here.call("promote")
    assert code == 1
    assert "ana@elsewhere.org (as git says) stands for no role of OWNERS" in said
    assert "Name whose address it is: `people: {ana: [ana@elsewhere.org]}` below x-ownership." in said
    here.owners("[ana@example.org]", "[ana@elsewhere.org]")
    code, said = here.call("promote")
    assert code == 1
    assert "stands for no role" not in said


LACKING: dict[str, tuple[str, str, str, str]] = {
    "nobody yet": ("OWNERS", '["cy"]', "[]", "nobody answers for product yet"),
    "a review that is due": ("OWNERS", SOON, "2026-01-31", "the review was due on 2026-01-31"),
    "a defect": ("OWNERS", "^notebooks/", "^notebook/", "matches no file"),
    "no OWNERS": ("OWNERS", "", "", "the file is missing"),
    "an open question": (
        "docs/agreement.md",
        "| No answer | said |",
        "| No answer | |",
        "docs/agreement.md:23: still open: No answer",
    ),
    "no agreement": ("docs/agreement.md", "", "", "docs/agreement.md is missing"),
}


@pytest.mark.parametrize("name", LACKING)
def test_production_waits_for_what_the_repository_lacks(here: Repository, name: str) -> None:
    file, old, new, told = LACKING[name]
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
    code, said = here.call("promote")
    assert code == 1
    assert told in said
    assert here.call("promote", environment="staging")[0] == 0


def away(root: Path) -> None:
    """What a promoter would write who wants to ask nobody."""
    path = root / "OWNERS"
    text = path.read_text(encoding="utf-8").replace("promote: [data-science, product]", "promote: [data-science]")
    path.write_text(text, encoding="utf-8")


def away_unseen(root: Path) -> None:
    """The same, with git told to look away."""
    away(root)
    git("update-index", "--assume-unchanged", "OWNERS", folder=root)
    assert git("status", "--porcelain", folder=root) == ""


def untracked(root: Path) -> None:
    """A setting that git is told to ignore."""
    git("rm", "--quiet", "--cached", "config/production.yaml", folder=root)
    git("-c", "commit.gpgsign=false", "commit", "--quiet", "--message=out", folder=root, **IDENTITY)
    (root / ".git/info/exclude").write_text("config/production.yaml\n", encoding="utf-8")
    assert git("status", "--porcelain", folder=root) == ""


EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "OWNERS": (away, "OWNERS is not what the last commit holds"),
    "OWNERS unseen": (away_unseen, "OWNERS is not what the last commit holds"),
    "OWNERS staged": (lambda root: (away(root), git("add", "OWNERS", folder=root)), "OWNERS is not what"),
    "a page": (lambda root: (root / "docs/agreement.md").write_text("We agreed.\n"), "docs/agreement.md is not what"),
    "a setting": (lambda root: (root / "config/base.yaml").write_text("gate: {min_rows: 1}\n"), "config/base.yaml is"),
    "a setting that is gone": (lambda root: (root / "config/production.yaml").unlink(), "config/production.yaml is"),
    "a setting of nobody": (untracked, "config/production.yaml is not what the last commit holds"),
    "no git": (lambda root: shutil.rmtree(root / ".git"), "git holds no commit at"),
    "no commit": (lambda root: git("update-ref", "-d", "HEAD", folder=root), "git holds no commit at"),
}


@pytest.mark.parametrize("name", EDITS)
def test_production_takes_nothing_that_is_not_committed(here: Repository, name: str) -> None:
    edit, told = EDITS[name]
    if "OWNERS" not in name:
        approved(here, "cy")
    # Known by the host, so that it is the work tree alone that differs.
    here.ci("ana")
    edit(here.root)
    code, said = here.call("promote")
    assert code == 1
    assert told in said
    assert deployments.read(here.store, "production") is None
    assert here.call("promote", environment="staging")[0] == 0


def test_nobody_makes_themselves_an_approver_without_a_commit(here: Repository) -> None:
    path = here.root / "OWNERS"
    path.write_text(path.read_text(encoding="utf-8").replace('["cy"]', '["eve"]'), encoding="utf-8")
    here.ci("eve")
    code, said = here.call("approve")
    assert code == 1
    assert "eve (as the CI host says) stands for no role of OWNERS" in said
    assert "OWNERS is not what the last commit holds: commit it" in said
    approved(here, "cy")
    commit(here.root)
    here.ci("eve")
    assert here.call("approve")[0] == 0
    shutil.rmtree(here.root / ".git")
    code, said = here.call("approve")
    assert code == 1
    assert "git holds no commit of OWNERS" in said


def test_a_repository_within_another_is_compared_by_its_own_files(here: Repository) -> None:
    shutil.rmtree(here.root / ".git")
    git("init", "--quiet", folder=here.root.parent)
    git("add", "churn", folder=here.root.parent)
    commit(here.root)
    approved(here, "cy")
    here.ci("ana")
    code, said = here.call("promote")
    assert code == 0, said
    away(here.root)
    assert here.call("promote", here.versions[0])[0] == 1


def test_the_audit_names_the_commit_that_decided(here: Repository) -> None:
    approved(here, "cy")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 0
    code = {"commit": git("rev-parse", "HEAD", folder=here.root), "edited": False}
    assert here.audit()[-1]["evidence"]["code"] == code


def test_a_killed_promotion_elsewhere_keeps_nothing_out_of_production(here: Repository) -> None:
    assert here.call("promote", environment="local")[0] == 0
    with here.store.audit.open("ab") as file:
        file.write(b'{"after": "5e')
    approved(here, "cy")
    here.git("ana@example.org")
    code, said = here.call("promote")
    assert code == 0, said


def test_the_page_as_it_is_rendered_has_open_questions_and_a_filled_one_has_none(tmp_path: Path) -> None:
    page = tmp_path / "docs/agreement.md"
    page.parent.mkdir()
    page.write_text(PAGE, encoding="utf-8")
    told = open_questions(tmp_path)
    assert (
        len(told) == PAGE.count("?") - PAGE[: PAGE.index("##")].count("?") + 3 + 4 - PAGE.count("two questions") or told
    )
    lines = PAGE.splitlines()
    for each in told:
        _, number, still, question = each.split(":", 3)
        assert still == " still open"
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
def test_an_empty_cell_beside_the_first_is_an_open_question(tmp_path: Path, row: str, open: bool) -> None:
    (tmp_path / "docs").mkdir()
    text = f"# Page\n\n| | head | |\n|---|:--|--:|\n{row}\n"
    (tmp_path / "docs/agreement.md").write_text(text, encoding="utf-8")
    assert [each.split(":")[1] for each in open_questions(tmp_path)] == (["5"] if open else [])

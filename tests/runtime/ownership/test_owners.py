"""OWNERS: what is refused, with its line and its hint; what is only told; and what a stranger's YAML cannot do."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from lifecycle.cli import entry
from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import rules
from lifecycle.ownership.document import MOST_BYTES
from lifecycle.ownership.findings import Finding
from lifecycle.ownership.reading import MOST_FILTERS
from support.owned import DAY, FILES, PEOPLE, owners_text, repository

CLEAN = owners_text()


def found(text: str, files: list[str] | None = FILES, day: date = DAY) -> list[Finding]:
    return rules.examine(text.encode(), files, day)[1]


def line_of(piece: str, text: str = CLEAN) -> int:
    """The last line that holds it."""
    return text[: text.rindex(piece)].count("\n") + 1


def test_an_owners_file_with_everybody_in_it_is_quiet() -> None:
    assert found(CLEAN) == []


@pytest.mark.parametrize("host", ["github", "gitlab"])
@pytest.mark.parametrize("people", [{}, {name: ["ana"] for name in PEOPLE}, PEOPLE], ids=["nobody", "one", "three"])
def test_the_first_day_is_told_about_and_never_refused(host: str, people: dict[str, list[str]]) -> None:
    files = FILES if host == "github" else [name for name in FILES if ".github" not in name] + [".gitlab-ci.yml"]
    told = found(owners_text(people, known=""), files)
    assert told
    assert not [each for each in told if each.refused]
    assert any("no review is planned" in each.problem for each in told)


# What is changed in a clean file, a piece of the line that has to be named, and a piece of what is told.
DEFECTS: dict[str, tuple[str, str, str, str]] = {
    "a role is missing": ("    product: &product", "    produkt: &product", "roles:", "the role product is missing"),
    "a decision by no role": ("promote: [data-science, product]", "promote: [sales]", "promote:", "by sales, which is"),
    "nobody decides promote": ("promote: [data-science, product]", "promote: []", "promote:", "nobody decides promote"),
    "nobody decides roll-back": ("    roll-back: [engineering]\n", "", "x-ownership:", "nobody decides roll-back"),
    "nobody decides retire": ("retire: [product]", "retire:", "retire:", "nobody decides retire"),
    "nobody decides change-threshold": ("change-threshold: [product]", "change-threshold: []", "change-thr", "nobody"),
    "an unknown decision": ("roll-back: [", "rollback: [", "rollback:", "nothing reads rollback"),
    "an unknown key of ours": ("review_by:", "reviewby:", "reviewby:", "nothing reads reviewby"),
    "an unknown key of Prow's": ("^src/:\n    approvers:", "^src/:\n    aprovers:", "^src/:", "names no approvers"),
    "a catch-all": ("^src/:", "'.*':", "'.*':", "is a catch-all"),
    "an anchored catch-all": ("^src/:", "^.*$:", "^.*$:", "is a catch-all"),
    "a regex CODEOWNERS cannot say": ("^src/:", "^src/(a|b)/:", "^src/(a", "cannot be said in CODEOWNERS"),
    "a dot that is any character": (r"^contract\.json$:", "^contract.json$:", "^contract.json", "cannot be said"),
    "a folder without its slash": ("^src/:", "^src:", "^src:", "cannot be said in CODEOWNERS"),
    "a filter of no file": ("^notebooks/:", "^notebook/:", "^notebook/:", "matches no file"),
    "a file of no filter": ("  ^docs/:\n    approvers: *product\n", "", "filters:", "nobody owns docs/agreement.md"),
    "approvers beside filters": ("\nfilters:", "\napprovers: [ana]\nfilters:", "approvers: [", "ignore every filter"),
    "reviewers beside filters": ("\nfilters:", "\nreviewers: [ana]\nfilters:", "reviewers: [ana]", "ignore every"),
    "a filter without approvers": (
        "^src/:\n    approvers: *data-science", "^src/:\n    reviewers: [ana]", "^src/:", "names no approvers",
    ),
    "a filter with nobody": ("^src/:\n    approvers: *data-science", "^src/:\n    approvers: []", "^src/", "no appr"),
    "an approver of no role": ("approvers: *product\n", "approvers: [eve]\n", "^docs/:", "eve, whom no role knows"),
    "an emeritus who is active": ("\nfilters:", "\nemeritus_approvers: [Ana]\nfilters:", "emeritus", "still active"),
    "an emeritus in a filter": (
        "^src/:\n", "^src/:\n    emeritus_approvers: [bo]\n", "emeritus_approvers", "bo is emeritus and still active",
    ),
    "a note to oneself": ('["ana"]', '["tbd"]', "data-science: &", "stands in for somebody"),
    "your-team": ('["acme/eng"]', '["acme/your-team"]', "engineering: &", "stands in for somebody"),
    "example": ('["cy"]', '["example"]', "product: &", "stands in for somebody"),
    "an unfinished waiver": (
        "  review_by", "  waiver: {until: 2026-12-31, why: TBD}\n  review_by", "waiver:", "until when, and why",
    ),
    "a waiver without a reason": ("  review_by", "  waiver: {until: 2026-12-31}\n  review_by", "waiver:", "and why"),
    "a waiver without an end": ("  review_by", "  waiver: {why: one author}\n  review_by", "waiver:", "until when"),
    "a waiver of more than 90 days": (
        "  review_by", "  waiver: {until: 2027-02-23, why: one author}\n  review_by", "waiver:", "longer than 90 days",
    ),
    "a review more than a year off": ("2027-06-30", "2027-12-31", "review_by:", "more than a year off"),
    "a review on no date": ("2027-06-30", "soon", "review_by:", "review_by is no date"),
    "a handle with an @": ('["ana"]', '["@ana"]', "data-science: &", "no handle"),
    "an address for a handle": ('["ana"]', '["ana@example.org"]', "data-science: &", "no handle"),
    "a handle that YAML reads otherwise": ('["ana"]', "[on]", "data-science: &", "YAML reads as bool"),
    "a role that is no list": ('["ana"]', "ana", "data-science: &", "no list"),
    "an address of two people": ("bo@example.org", "ANA@example.org", "people:", "the address of two people"),
    "an address that is none": ("[bo@example.org]", "[bo]", "people:", "is no e-mail address"),
    "a key that stands twice": ("^tests/:", "^src/:", "^src/:\n    approvers: *data-science\n  ^note", "a second time"),
    "an id of no team": ("  review_by", "  github-ruleset: {acme/eng: x}\n  review_by", "github-", "no numeric id"),
    "an id of five thousand digits": (
        "  review_by", f"  github-ruleset: {{acme/eng: {'1' * 5_000}}}\n  review_by", "github-", "no numeric id",
    ),
    "an id of a team in no filter": (
        "  review_by", "  github-ruleset: {acme/x: 1}\n  review_by", "github-ruleset:", "no filter names the team",
    ),
    "prow neither true nor false": ("  review_by", "  prow: yes please\n  review_by", "prow:", "neither true"),
    "no filters": ("filters:", "filter:", "filter:", "nothing reads filter"),
    "no roles at all": ("x-ownership:", "x-owners:", "x-owners:", "nothing reads x-owners"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_refused_with_its_line_and_its_mend(name: str) -> None:
    old, new, place, told = DEFECTS[name]
    assert old in CLEAN
    text = CLEAN.replace(old, new, 1)
    try:
        findings = found(text)
    except LifecycleError as error:
        where, _, problem = error.problem.partition(": ")
        findings = [Finding(where, problem, error.hint)]
    fitting = [each for each in findings if told in each.problem]
    assert fitting, findings
    assert fitting[0].refused
    assert fitting[0].where == f"OWNERS:{line_of(place, text)}"
    assert fitting[0].hint


# What only stands in the way of production.
WAITING: dict[str, tuple[str, str, str, str]] = {
    "nobody yet": ('["cy"]', "[]", "product: &", "nobody answers for product yet"),
    "no review": ("  review_by: 2027-06-30\n", "", "x-ownership:", "no review is planned"),
    "a review that is due": ("2027-06-30", "2026-11-23", "review_by:", "the review was due on 2026-11-23"),
    "one person twice": ('["cy"]', '["cy", "ANA"]', "roles:", "ana stands for data-science, product: one pair of eyes"),
    "a member twice": ('["cy"]', '["cy", "bo"]', "roles:", "bo stands for engineering, product"),
    "a team without members": ("acme/eng: [bo]", "acme/eng: []", "engineering: &", "the members of acme/eng"),
    "a waiver that ended": (
        '["cy"]', '["ana"]', "roles:", "one pair of eyes (the waiver ended on 2026-11-23)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WAITING)
def test_what_only_production_waits_for_is_told_and_not_refused(name: str) -> None:
    old, new, place, told = WAITING[name]
    waiver = "  waiver: {until: 2026-11-23, why: one author}\n  review_by" if "ended" in name else "  review_by"
    text = CLEAN.replace(old, new, 1).replace("  review_by", waiver, 1)
    [finding] = found(text)
    assert (finding.where, finding.refused) == (f"OWNERS:{line_of(place, text)}", False)
    assert told in finding.problem
    assert finding.hint


def test_a_waiver_lets_one_person_stand_for_two_roles_to_its_last_day() -> None:
    text = CLEAN.replace('["cy"]', '["ana"]').replace(
        "  review_by", "  waiver: {until: 2026-12-01, why: we are hiring}\n  review_by"
    )
    assert found(text) == []
    assert found(text, day=date(2026, 12, 1)) == []
    [finding] = found(text, day=date(2026, 12, 2))
    assert not finding.refused


def test_every_finding_is_told_at_once_and_each_place_once() -> None:
    text = CLEAN.replace("^src/:", "^src:").replace("promote: [data-science, product]", "promote: []")
    text = text.replace('["cy"]', "[on]").replace("  review_by: 2027-06-30\n", "")
    told = found(text)
    assert [each.where for each in told if each.refused] == [
        f"OWNERS:{line_of(piece, text)}" for piece in ("product: &", "^src:", "promote:")
    ]
    assert [each.problem for each in told if not each.refused] == ["no review is planned (review_by)"]


def test_a_folder_that_ends_like_a_suffix_is_refused() -> None:
    text = CLEAN + "  \\.sql$:\n    approvers: *product\n"
    assert found(text) == []
    [finding] = found(text, [*FILES, "src/old.sql/notes.txt"])
    assert "CODEOWNERS would count what is in it" in finding.problem


def test_files_without_an_owner_are_told_folder_by_folder() -> None:
    told = found(CLEAN, [*FILES, "platform/a.yaml", "platform/b/c.yaml", "scripts/run.sh"])
    assert [each.problem for each in told] == ["nobody owns platform/a.yaml and 1 more", "nobody owns scripts/run.sh"]


ALIASES = "".join(f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9)) if n else 'x'}]\n" for n in range(7))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty"),
    "a comment": (b"# nobody\n", "it is empty"),
    "a list": (b"- ana\n", "the file is no mapping"),
    "a tab": (CLEAN.replace("  ^src/:", "\t^src/:").encode(), "it is not YAML"),
    "an open bracket": (CLEAN.replace('["ana"]', '["ana"').encode(), "it is not YAML"),
    "an unknown alias": (CLEAN.replace("*product", "*produkt").encode(), "it is not YAML"),
    "a handle with its @": (CLEAN.replace('["cy"]', "[@cy]").encode(), "Handles stand without the @."),
    "two documents": (CLEAN.encode() + b"---\na: 1\n", "it is not YAML"),
    "no UTF-8": (b"x: \xff\xfe\n", "it is not YAML"),
    "a zero byte": (b"x: \x00\n", "it is not YAML"),
    "a bomb": (ALIASES.encode(), "its aliases stand for more than"),
    "a snake that bites its tail": (b"a: &a [*a]\n", "nested too deeply"),
    "brackets without end": (b"[" * 60_000, "nested too deeply"),
    "an object of Python": (b"x-ownership: !!python/object/apply:os.system [exit 7]\n", "x-ownership is no mapping"),
    "ten thousand filters": (
        CLEAN.encode() + b"".join(b"  ^src/f%d/:\n    approvers: *product\n" % n for n in range(10_000)),
        "more than a person reads",
    ),
    "as many short filters as fit": (
        b"filters:\n" + b"".join(b" ^%x/:\n" % n for n in range(6_000)),
        f"6,000 filters are more than a person reads (at most {MOST_FILTERS})",
    ),
    "a list of names without end": (
        CLEAN.replace('["ana"]', f"[{', '.join(['ana'] * 500)}]").encode(), "is no list of at most 50 names",
    ),
    "as many bytes as are read": (b"# " + b"x" * (MOST_BYTES - 2), "it is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_gets_a_clear_error_in_bounded_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, told = HOSTILE[name]
    root = repository(tmp_path)
    (root / "OWNERS").write_bytes(content)
    monkeypatch.chdir(root)
    before = time.process_time()
    assert entry.main(["owners", "check"]) == 1
    assert time.process_time() - before < 5
    error = capsys.readouterr().err
    assert told in error
    assert "error: OWNERS:" in error
    assert "Traceback" not in error


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("owners", "check", text=…)`: the exit code and what was said, in a repository with that OWNERS."""
    repository(tmp_path)
    monkeypatch.chdir(tmp_path)

    def started(*words: str, text: str | None = None) -> tuple[int, str, str]:
        if text is not None:
            Path("OWNERS").write_text(text, encoding="utf-8")
        code = entry.main([*words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return started


def review_in_a_month(text: str = CLEAN) -> str:
    return text.replace("2027-06-30", str(date.today() + timedelta(30)))


def test_check_says_what_is_in_order_and_ends_with_0(run: Run) -> None:
    code, out, err = run("owners", "check", text=review_in_a_month())
    assert (code, err) == (0, "")
    assert out == "ok  owners: 11 filters, data-science, engineering, product\n"


def test_refusals_are_told_before_warnings_and_end_with_1(run: Run) -> None:
    text = review_in_a_month().replace('["cy"]', "[]").replace("^notebooks/:", "^notebook/:")
    code, _, err = run("owners", "check", text=text)
    assert code == 1
    kinds = [line.split(":")[0] for line in err.splitlines() if not line.startswith(" ")]
    assert kinds == ["error", "error", "warning", "error"]
    assert "OWNERS has 2 to fix" in err.splitlines()[-2]


def test_warnings_alone_end_with_0(run: Run) -> None:
    code, out, err = run("owners", "check", text=review_in_a_month().replace('["cy"]', "[]"))
    assert code == 0
    assert f"warning: OWNERS:{line_of('product: &product')}: nobody answers for product yet" in err
    assert "production waits" in out


def test_a_repository_without_owners_is_told_about_and_not_refused(run: Run) -> None:
    Path("OWNERS").unlink()
    code, _, err = run("owners", "check")
    assert code == 0
    assert "warning: OWNERS: the file is missing" in err
    for words in (("derive",), ("who", "README.md"), ("role", "product")):
        code, _, err = run("owners", *words)
        assert code == 1
        assert "the file is missing" in err


def test_what_cannot_be_derived_is_told_as_check_tells_it(run: Run) -> None:
    code, _, err = run("owners", "derive", text=review_in_a_month().replace('["cy"]', '["@cy"]'))
    assert code == 1
    assert err.startswith(f"error: OWNERS:{line_of('product: &product')}: '@cy' in product is no handle")
    assert "Without the @" in err
    assert err.endswith("  `uv run lifecycle owners check` shows all.\n")


def test_who_and_role_answer_from_the_file(run: Run) -> None:
    assert run("owners", "who", "src/model/data.py")[:2] == (0, f"ana  (OWNERS:{line_of('^src/')})\n")
    assert run("owners", "who", "./README.md")[:2] == (0, f"acme/eng  (OWNERS:{line_of('^[^/]')})\n")
    assert run("owners", "who", "platform/x.yaml")[0] == 1
    assert run("owners", "role", "engineering")[:2] == (0, "acme/eng  decides: roll-back\npeople: bo\n")
    code, _, err = run("owners", "role", "sales")
    assert code == 1
    assert "There are data-science, engineering, product." in err


def test_a_file_that_is_older_than_the_rules_is_told_of_and_not_refused_by_make_check(run: Run) -> None:
    from lifecycle.cli.repository import _owners_told

    old = review_in_a_month().replace("  version: 1\n", "").replace("^notebooks/:", "^notebook/:")
    assert run("owners", "check", text=old)[0] == 1
    _owners_told(always=False)
    with pytest.raises(Refused, match="OWNERS has 2 to fix"):
        _owners_told(always=True)
    assert run("owners", "check", text=review_in_a_month().replace("version: 1", "version: 2"))[0] == 1


def test_outside_git_what_is_said_of_files_is_left_out(tmp_path: Path) -> None:
    from lifecycle.ownership.repository import examine

    (tmp_path / "OWNERS").write_text(CLEAN, encoding="utf-8")
    assert examine(tmp_path, DAY).findings == ()


def test_two_thousand_files_are_checked_in_less_than_a_second_of_cpu(tmp_path: Path) -> None:
    files = [f"src/part{n % 40}/deeper/module_{n}.py" for n in range(2_000)]
    text = CLEAN + "".join(f"  ^src/part{n}/deeper/:\n    approvers: *product\n" for n in range(40))
    root = repository(tmp_path, text, [*FILES, *files])
    subprocess.run(["git", "-C", root, "add", "--all"], check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "lifecycle", "owners", "check"], cwd=root, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "51 filters" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1

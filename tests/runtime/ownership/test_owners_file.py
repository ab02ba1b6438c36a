"""OWNERS: what is an error, with its line and its hint, what is only a warning, and how hostile YAML is handled."""

import time
from datetime import date
from pathlib import Path

import pytest

from lifecycle import cli
from lifecycle.errors import LifecycleError
from lifecycle.ownership import Finding, examine
from support.owned import DAY, FILES, PEOPLE, owners_text, repository

CLEAN = owners_text()


def findings(text: str, files: list[str] | None = FILES, day: date = DAY) -> list[Finding]:
    return examine(text.encode(), files, day).findings


def line_of(piece: str, text: str = CLEAN) -> int:
    """Return the last line with this piece."""
    return text[: text.rindex(piece)].count("\n") + 1


def test_a_complete_owners_file_has_no_findings() -> None:
    assert findings(CLEAN) == []


@pytest.mark.parametrize("host", ["github", "gitlab"])
@pytest.mark.parametrize("people", [{}, {name: ["ana"] for name in PEOPLE}, PEOPLE], ids=["none", "one", "three"])
def test_a_new_render_has_warnings_and_no_errors(host: str, people: dict[str, list[str]]) -> None:
    files = FILES if host == "github" else [name for name in FILES if ".github" not in name] + [".gitlab-ci.yml"]
    found = findings(owners_text(people, known=""), files)
    assert found
    assert not [each for each in found if each.refused]
    assert any("no review is planned" in each.problem for each in found)


# A change of a correct file, a piece of the line that has to be named, and a piece of the message.
DEFECTS: dict[str, tuple[str, str, str, str]] = {
    "a missing role": ("    product: &product", "    produkt: &product", "roles:", "the role product is missing"),
    "a decision by no role": ("promote: [data-science, product]", "promote: [sales]", "promote:", "by sales, which is"),
    "an empty decision": ("promote: [data-science, product]", "promote: []", "promote:", "no role decides promote"),
    "a missing decision": ("    roll-back: [engineering]\n", "", "decisions:", "no role decides roll-back"),
    "a decision without a value": ("retire: [product]", "retire:", "retire:", "no role decides retire"),
    "an unknown decision": ("roll-back: [", "rollback: [", "rollback:", "Input should be 'promote', 'ch"),
    "an unknown key": ("review_by:", "reviewby:", "reviewby:", "the key is unknown"),
    "an unknown key of a filter": ("^src/:\n    approvers:", "^src/:\n    aprovers:", "aprovers:", "key is unknown"),
    "a catch-all": ("^src/:", "'.*':", "'.*':", "is not a filter that CODEOWNERS can express"),
    "an anchored catch-all": ("^src/:", "^.*$:", "^.*$:", "is not a filter"),
    "an alternative": ("^src/:", "^src/(a|b)/:", "^src/(a", "is not a filter"),
    "a dot that is any character": (r"^contract\.json$:", "^contract.json$:", "^contract.json", "is not a filter"),
    "a folder without its slash": ("^src/:", "^src:", "^src:", "is not a filter"),
    "a filter of no file": ("^notebooks/:", "^notebook/:", "^notebook/:", "matches no file"),
    "a file of no filter": ("  ^docs/:\n    approvers: *product\n", "", "filters:", "no owner for docs/agreement.md"),
    "approvers outside of filters": ("\nfilters:", "\napprovers: [ana]\nfilters:", "approvers: [", "key is unknown"),
    "a filter with reviewers only": (
        "^src/:\n    approvers: *data-science", "^src/:\n    reviewers: [ana]", "^src/:", "Field required",
    ),
    "a filter without names": ("^src/:\n    approvers: *data-science", "^src/:\n    approvers: []", "^src/", "no appr"),
    "an approver of no role": ("approvers: *product\n", "approvers: [eve]\n", "^docs/:", "eve, who has no role"),
    "a note": ('["ana"]', '["tbd"]', "data-science: &", "'tbd' is not a person or a team"),
    "a placeholder": ('["acme/eng"]', '["acme/your-team"]', "engineering: &", "is not a person or a team"),
    "an example": ('["cy"]', '["example"]', "product: &", "is not a person or a team"),
    "a waiver without a reason": ("  review_by", "  waiver: {until: 2026-12-31}\n  review_by", "waiver:", "required"),
    "a waiver without an end": ("  review_by", "  waiver: {why: one author}\n  review_by", "waiver:", "required"),
    "a waiver of more than 90 days": (
        "  review_by", "  waiver: {until: 2027-02-23, why: one author}\n  review_by", "waiver:", "longer than 90 days",
    ),
    "a review more than a year away": ("2027-06-30", "2027-12-31", "review_by:", "more than a year away"),
    "a review without a date": ("2027-06-30", "soon", "review_by:", "valid date"),
    "a handle with an @": ('["ana"]', '["@ana"]', "data-science: &", "is not a person or a team"),
    "an address for a handle": ('["ana"]', '["ana@example.org"]', "data-science: &", "is not a person"),
    "a role that is not a list": ('["ana"]', "ana", "data-science: &", "valid tuple"),
    "a handle for an address": ("[bo@example.org]", "[bo]", "people:", "is not an e-mail address"),
    "a repeated key": ("^tests/:", "^src/:", "^src/:\n    approvers: *data-science\n  ^note", "a second time"),
    "no filters": ("filters:", "filter:", "filter:", "the key is unknown"),
    "no roles at all": ("x-ownership:", "x-owners:", "x-owners:", "the key is unknown"),
    "another version of the format": ("version: 1", "version: 2", "version:", "Input should be '1'"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_an_error_with_its_line_and_a_hint(name: str) -> None:
    old, new, place, problem = DEFECTS[name]
    assert old in CLEAN
    text = CLEAN.replace(old, new, 1)
    try:
        found = findings(text)
    except LifecycleError as error:
        where, _, message = error.problem.partition(": ")
        found = [Finding(where, message, error.hint)]
    fitting = [each for each in found if problem in each.problem]
    assert fitting, found
    assert fitting[0].refused
    assert fitting[0].where == f"OWNERS:{line_of(place, text)}"
    assert fitting[0].hint


# What is accepted everywhere but in production.
WAITING: dict[str, tuple[str, str, str, str]] = {
    "no owner yet": ('["cy"]', "[]", "product: &", "product has no owner yet"),
    "no review": ("  review_by: 2027-06-30\n", "", "x-ownership:", "no review is planned"),
    "a review that is due": ("2027-06-30", "2026-11-23", "review_by:", "the review was due on 2026-11-23"),
    "one person twice": ('["cy"]', '["cy", "ana"]', "roles:", "ana alone holds data-science, product"),
    "a member twice": ('["cy"]', '["cy", "bo"]', "roles:", "bo alone holds engineering, product"),
    "a team without members": ("acme/eng: [bo]", "acme/eng: []", "engineering: &", "the members of acme/eng"),
    "a waiver that ended": ('["cy"]', '["ana"]', "roles:", "product (the waiver ended on 2026-11-23)"),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_only_production_requires_is_a_warning(name: str) -> None:
    old, new, place, problem = WAITING[name]
    waiver = "  waiver: {until: 2026-11-23, why: one author}\n  review_by" if "ended" in name else "  review_by"
    text = CLEAN.replace(old, new, 1).replace("  review_by", waiver, 1)
    [finding] = findings(text)
    assert (finding.where, finding.refused) == (f"OWNERS:{line_of(place, text)}", False)
    assert problem in finding.problem
    assert finding.hint


def test_a_waiver_lets_one_person_hold_two_roles_until_its_last_day() -> None:
    text = CLEAN.replace('["cy"]', '["ana"]').replace(
        "  review_by", "  waiver: {until: 2026-12-01, why: we are hiring}\n  review_by"
    )
    assert findings(text) == []
    assert findings(text, day=date(2026, 12, 1)) == []
    [finding] = findings(text, day=date(2026, 12, 2))
    assert not finding.refused


def test_all_errors_of_the_format_are_reported_together_and_then_those_of_the_content() -> None:
    text = CLEAN.replace("^src/:", "^src:").replace('["cy"]', '["@cy"]')
    assert [each.where for each in findings(text)] == [
        f"OWNERS:{line_of(each, text)}" for each in ("product: &", "^src:")
    ]
    text = CLEAN.replace("retire: [product]", "retire: []").replace("promote: [data-science, product]", "promote: [x]")
    text = text.replace("  review_by: 2027-06-30\n", "")
    found = findings(text)
    assert [each.where for each in found if each.refused] == [
        f"OWNERS:{line_of(piece, text)}" for piece in ("promote:", "retire:")
    ]
    assert [each.problem for each in found if not each.refused] == ["no review is planned (review_by)"]


def test_files_without_an_owner_are_reported_together() -> None:
    [finding] = findings(CLEAN, [*FILES, "platform/a.yaml", "platform/b/c.yaml", "scripts/run.sh"])
    assert finding.problem == "no owner for platform/a.yaml, platform/b/c.yaml, scripts/run.sh"


def test_keys_that_had_an_effect_in_0_2_0_are_still_read() -> None:
    text = CLEAN.replace("  review_by", "  prow: true\n  github-ruleset: {acme/eng: 4711}\n  review_by")
    text = text.replace("^src/:\n", "^src/:\n    reviewers: [bo]\n") + "emeritus_approvers: [dee]\n"
    assert findings(text) == []


def test_a_handle_that_other_yaml_readers_take_for_a_boolean_is_text() -> None:
    owners = examine(CLEAN.replace('["ana"]', "[on]").encode(), FILES, DAY).owners
    assert owners is not None
    assert owners.roles["data-science"] == ("on",)


ALIASES = "".join(f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9)) if n else 'x'}]\n" for n in range(7))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "a comment": (b"# to do\n", "the file is empty"),
    "a list": (b"- ana\n", "the file is not a mapping"),
    "a tab": (CLEAN.replace("  ^src/:", "\t^src/:").encode(), "cannot be read as YAML"),
    "an open bracket": (CLEAN.replace('["ana"]', '["ana"').encode(), "cannot be read as YAML"),
    "an unknown alias": (CLEAN.replace("*product", "*produkt").encode(), "cannot be read as YAML"),
    "a handle with its @": (CLEAN.replace('["cy"]', "[@cy]").encode(), "write handles without the @."),
    "two documents": (CLEAN.encode() + b"---\na: 1\n", "cannot be read as YAML"),
    "no UTF-8": (b"x: \xff\xfe\n", "cannot be read as YAML"),
    "a zero byte": (b"x: \x00\n", "cannot be read as YAML"),
    "a mapping as a key": (b"{a: 1}: b\n", "cannot be read as YAML"),
    "an exponential number of aliases": (ALIASES.encode(), "the key is unknown"),
    "aliases as roles": (
        (ALIASES + CLEAN.replace('&product ["cy"]', "*a6").replace("*product", "[cy]")).encode(), "valid string"
    ),
    "a list within itself": (b"a: &a [*a]\n", "cannot be read as YAML"),
    "brackets without end": (b"[" * 60_000, "cannot be read as YAML"),
    "an object of Python": (b"x-ownership: !!python/object/apply:os.system [exit 7]\n", "x-ownership: Input should be"),
    "filters as a list": (CLEAN.partition("filters:")[0].encode() + b"filters: [a]\n", "filters: Input should be"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_gets_a_clear_error_in_bounded_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, problem = HOSTILE[name]
    root = repository(tmp_path)
    (root / "OWNERS").write_bytes(content)
    monkeypatch.chdir(root)
    before = time.process_time()
    assert cli.main(["owners", "check"]) == 1
    assert time.process_time() - before < 5
    error = capsys.readouterr().err
    assert problem in error
    assert "error: OWNERS:" in error
    assert "Traceback" not in error

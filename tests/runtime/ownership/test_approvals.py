"""Production requires an approval of each deciding role; names come from git or the CI host."""

import pytest

from lifecycle.ownership.approvals import roles
from lifecycle.registry import deployments
from support.approving import SOON, Repository, approved
from support.owned import PEOPLE, commit, owners_text


def test_production_requires_the_role_that_has_not_approved(here: Repository) -> None:
    newest = here.versions[-1]
    code, output = here.call("promote")
    assert code == 1
    assert f"error: {newest} is not promoted in production" in output
    command = f"`make approve VERSION={newest} ENVIRONMENT=production`"
    assert f"product decides promote and has not approved (cy): {command}" in output
    assert "data-science decides" not in output
    assert deployments.read(here.store, "production") is None


def test_an_approval_from_a_ci_job_allows_the_promotion_and_is_recorded(here: Repository) -> None:
    approved(here, "CY", "--why", "calls are worth it")
    here.git("ana@example.org")
    code, output = here.call("promote", "--why", "better")
    assert code == 0, output
    first, second = here.audit()
    assert (first["action"], first["who"], first["source"], first["roles"]) == ("approve", "CY", "ci", ["product"])
    assert (first["environment"], first["version"]) == ("production", here.versions[-1])
    assert (second["who"], second["evidence"]["source"]) == ("ana@example.org", "git")
    deployed = deployments.read(here.store, "production")
    assert deployed is not None
    assert deployed.owners == {"data-science": ["ana"], "engineering": ["acme/eng"], "product": ["cy"]}
    [used] = second["evidence"]["approvals"]
    assert (used["who"], used["source"], used["why"]) == ("CY", "ci", "calls are worth it")


def test_an_approval_by_git_address_counts(here: Repository) -> None:
    assert here.call("approve")[0] == 0
    here.ci("cy")
    assert here.call("promote")[0] == 0
    assert here.audit()[1]["evidence"]["approvals"][0]["who"] == "ana@example.org"
    assert (here.audit()[1]["who"], here.audit()[1]["evidence"]["source"]) == ("cy", "ci")


def test_an_override_replaces_a_check_and_no_approval(here: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFECYCLE_GATE__MAX_MEGABYTES", "0.001")
    newest = here.versions[-1]
    code, output = here.call("promote", "--override", "urgent")
    assert code == 1
    assert "failed: product decides promote and has not approved (cy)" in output
    assert "failed: the bundle has" not in output
    assert f"run `make promote VERSION={newest} ENVIRONMENT=production` again; no OVERRIDE replaces it" in output
    approved(here, "cy")
    here.git("ana@example.org")
    code, output = here.call("promote")
    assert code == 1
    assert f'`make promote VERSION={newest} OVERRIDE="reason" ENVIRONMENT=production`' in output
    code, output = here.call("promote", "--override", "urgent")
    assert code == 0, output
    line = here.audit()[-1]
    assert (line["who"], line["evidence"]["source"]) == ("ana@example.org", "git")
    assert line["evidence"]["override"] == {"reason": "urgent", "checks": ["size"], "verdict": "failed"}
    assert [each["who"] for each in line["evidence"]["approvals"]] == ["cy"]


def test_a_member_holds_the_role_of_the_team(here: Repository) -> None:
    here.owners("promote: [data-science, product]", "promote: [data-science, engineering]")
    approved(here, "bo")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 0


@pytest.mark.parametrize("environment", ["local", "staging"])
def test_local_and_staging_need_no_approval(here: Repository, environment: str) -> None:
    (here.root / "OWNERS").write_text("a: [", encoding="utf-8")
    (here.root / "docs/agreement.md").unlink()
    here.git(None)
    code, output = here.call("promote", environment=environment)
    assert code == 0, output
    code, output = here.call("approve", environment=environment)
    assert code == 1
    assert f"{environment} needs no approval" in output


def test_a_login_name_and_a_variable_outside_ci_hold_no_role(here: Repository) -> None:
    here.git(None)
    for name in ("LOGNAME", "USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        here.patch.setenv(name, "cy")
    code, output = here.call("approve")
    assert code == 1
    assert "cy (from the login name; recorded, not verified) holds no role" in output
    assert "A login name is not enough" in output
    code, output = here.call("promote")
    assert code == 1
    assert "data-science decides promote" in output
    assert "product decides promote" in output
    assert not here.store.audit.exists()


@pytest.mark.parametrize("address", ["eve@example.org", "cy", "bo@example.org.evil.example"])
def test_an_unassigned_address_cannot_approve(here: Repository, address: str) -> None:
    here.git(address)
    code, output = here.call("approve")
    assert code == 1
    assert f"people: {{ana: [{address}]}}" in output


def test_an_approval_is_for_one_version(here: Repository) -> None:
    older, newer = here.versions
    approved(here, "cy", older)
    here.git("ana@example.org")
    assert here.call("promote", newer)[0] == 1
    assert here.call("promote", older)[0] == 0


def test_an_approval_counts_again_after_a_rollback(here: Repository) -> None:
    for version in here.versions:
        approved(here, "cy", version)
        here.git("ana@example.org")
        assert here.call("promote", version)[0] == 0
    assert here.call("rollback")[0] == 0
    code, output = here.call("promote", here.versions[-1])
    assert code == 0, output


def test_an_approval_of_a_person_who_left_the_role_does_not_count(here: Repository) -> None:
    approved(here, "cy")
    here.owners('["cy"]', '["dee"]')
    here.git("ana@example.org")
    code, output = here.call("promote")
    assert code == 1
    assert "has not approved (dee)" in output


def test_a_new_threshold_needs_the_role_that_decides_it(here: Repository) -> None:
    approved(here, "cy")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 0
    code, output = here.call("promote", "--threshold", "0.3")
    assert code == 1
    assert "product decides change-threshold and has not approved (cy)" in output
    assert "THRESHOLD=0.3" in output
    for words in ([], ["--threshold", "0.4"]):
        approved(here, "cy", *words)
        here.git("ana@example.org")
        assert here.call("promote", "--threshold", "0.3")[0] == 1
    approved(here, "cy", "--threshold", "0.3")
    here.git("ana@example.org")
    assert here.call("promote", "--threshold", "0.3")[0] == 0
    here.ci("cy")
    assert here.call("promote", "--threshold", "0.2")[0] == 0, "who decides needs no approval"


def test_an_approval_of_one_threshold_does_not_count_for_another(here: Repository) -> None:
    approved(here, "cy", "--threshold", "0.3")
    here.git("ana@example.org")
    assert here.call("promote")[0] == 1
    assert here.call("promote", "--threshold", "0.3")[0] == 0
    assert here.call("approve", "--threshold", "3")[0] == 1


def test_a_rollback_needs_no_approval_and_records_the_person(here: Repository) -> None:
    for version in here.versions:
        approved(here, "cy", version)
        here.git("ana@example.org")
        assert here.call("promote", version)[0] == 0
    (here.root / "docs/agreement.md").unlink()
    here.git("eve@example.org")
    assert here.call("rollback", "--why", "odd predictions")[0] == 0
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
    ],
    ids=["a folder", "no YAML", "no text", "too deep"],
)
def test_a_rollback_does_not_depend_on_owners(here: Repository, content: bytes | None) -> None:
    for version in here.versions:
        assert here.call("promote", version, environment="local")[0] == 0
    path = here.root / "OWNERS"
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    code, output = here.call("rollback", environment="local")
    assert code == 0, output
    assert deployments.required(here.store, "local").owners == {}


def test_a_rollback_survives_an_unexpected_error_of_the_reader(here: Repository) -> None:
    def fail(content: bytes) -> None:
        raise ZeroDivisionError

    here.patch.setattr("lifecycle.ownership.load", fail)
    assert roles(here.root) == {}


def test_one_author_with_a_waiver_decides_alone(here: Repository) -> None:
    alone = owners_text({role: ["ana"] for role in PEOPLE}).replace("2027-06-30", SOON)
    (here.root / "OWNERS").write_text(alone, encoding="utf-8")
    commit(here.root)
    code, output = here.call("promote")
    assert code == 1
    assert "ana alone holds data-science, engineering, product" in output
    assert "Name a second person, or `waiver: {until: …, why: …}` of at most 90 days." in output
    here.owners("  review_by", f"  waiver: {{until: {SOON}, why: the second starts in spring}}\n  review_by")
    code, output = here.call("promote")
    assert code == 0, output


def test_an_uncommitted_correction_of_owners_is_not_used(here: Repository) -> None:
    here.owners('["cy"]', '["@cy"]')
    code, output = here.call("approve")
    assert code == 1
    assert "'@cy' is not a person or a team" in output
    path = here.root / "OWNERS"
    path.write_text(path.read_text(encoding="utf-8").replace("@cy", "cy"), encoding="utf-8")
    code, output = here.call("approve")
    assert code == 1
    assert "OWNERS differs from the last commit: commit it" in output


def test_an_unknown_author_gets_a_hint(here: Repository) -> None:
    here.git("ana@elsewhere.org")
    code, output = here.call("promote")
    assert code == 1
    assert "ana@elsewhere.org (from git configuration; recorded, not verified) holds no role in OWNERS" in output
    assert "Assign the address to a person: `people: {ana: [ana@elsewhere.org]}` below x-ownership." in output
    here.owners("[ana@example.org]", "[ana@elsewhere.org]")
    code, output = here.call("promote")
    assert code == 1
    assert "holds no role" not in output

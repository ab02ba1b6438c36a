"""The derived files mean what OWNERS means, to parsers that are not ours, and are errors when they differ."""

import itertools
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import owners as derived
import pytest
import yaml
from codeowners import CodeOwners
from hypothesis import given, settings
from hypothesis import strategies as st
from owners import ALERT_URL, examine, last_match_wins, write

from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import Owners
from support.owned import DAY, FILES, owners_of, owners_text, repository
from support.rendering import run
from support.tools import needs

CLEAN = owners_text()
# Filters of every kind, inside one another and across, with approvers that overlap.
WIDE = (
    CLEAN
    + r"""
  ^src/model/:
    approvers: [cy, acme/eng]
  ^src/model/features\.sql$:
    approvers: [bo]
  \.sql$:
    approvers: [bo, cy]
  \.lock$:
    approvers: [bo]
  ^lifecycle/deploy/base/:
    approvers: *product
  ^README\.md$:
    approvers: *product
  \.tar\.gz$:
    approvers: *data-science
  \.gz$:
    approvers: [bo]
"""
)
NAMES = [
    "src",
    "model",
    "tests",
    "lifecycle",
    "deploy",
    "base",
    "docs",
    ".github",
    "notebooks",
    "src2",
    "v1.2",
    "größe",
]
ENDS = ["a.py", "features.sql", "x.sql", "uv.lock", "README.md", "contract.json", ".lock", "OWNERS", "a.tar.gz", "b.gz"]


def by_owners(owners: Owners, path: str) -> set[str]:
    """Return the approvers of all filters that match."""
    return {f"@{name}" for each in owners.filters if each.matches(path) for name in each.approvers}


def by_host(text: str, path: str) -> set[str]:
    """Return what an independent parser finds: in each section, the last line that matches."""
    parsed = CodeOwners(text)
    sections: dict[str | None, list[str]] = {}
    for named, _, _, section in parsed.matching_lines(path):
        sections.setdefault(section, [name for _, name in named])
    return {name for names in sections.values() for name in names}


def paths(number: int) -> list[str]:
    """Return paths of a repository and around it, each once; the same every time."""
    choose = random.Random(0)
    made = {"/".join([*choose.choices(NAMES, k=choose.randint(0, 4)), choose.choice(ENDS)]) for _ in range(number * 3)}
    return [*FILES, *sorted(made)]


@pytest.mark.parametrize("text", [CLEAN, WIDE, owners_text({name: ["ana"] for name in ("data_science", "product")})])
@pytest.mark.parametrize("host", [derived.GITHUB, derived.GITLAB])
def test_codeowners_and_owners_agree_about_hundreds_of_paths(host: str, text: str) -> None:
    owners = owners_of(text)
    text = derived.texts(owners, "churn", "")[host]
    tried = paths(600)
    assert len(tried) >= 600
    assert [path for path in tried if by_host(text, path) != by_owners(owners, path)] == []
    assert len({frozenset(by_owners(owners, path)) for path in tried}) >= 2


FOLDERS = ["/".join(names) for depth in (1, 2, 3) for names in itertools.product("ab", repeat=depth)]
SUFFIXES = ["".join(names) for depth in (1, 2) for names in itertools.product((".x", ".y"), repeat=depth)]
folders, suffixes = st.sampled_from(FOLDERS), st.sampled_from(SUFFIXES)
regexes = st.one_of(
    folders.map(lambda name: f"^{name}/"),
    st.tuples(folders, suffixes).map(lambda both: f"^{both[0]}{both[1]}$".replace(".", r"\.")),
    suffixes.map(lambda name: f"{name}$".replace(".", r"\.")),
    st.just("^[^/]+$"),
)


@settings(max_examples=150, deadline=None)
@given(
    filters=st.dictionaries(regexes, st.lists(st.sampled_from("klmn"), max_size=2), min_size=2, max_size=8),
)
def test_any_set_of_filters_means_the_same_in_codeowners(filters: dict[str, list[str]]) -> None:
    known = [(regex, tuple(names)) for regex, names in filters.items()]
    text = "".join(f"{glob} {' '.join(f'@{name}' for name in names)}\n" for glob, names in last_match_wins(known))
    for path in map("".join, itertools.product(FOLDERS, SUFFIXES)):
        wanted = {f"@{name}" for regex, names in known if re.search(regex, path) for name in names}
        assert by_host(text, path) == wanted, (path, text)


def test_gitlab_has_a_section_for_each_role() -> None:
    text = derived.gitlab(owners_of(CLEAN))
    assert re.findall(r"^\[(.*)\]$", text, re.MULTILINE) == ["data-science", "engineering", "product"]
    assert CodeOwners(text).of("docs/agreement.md") == [("USERNAME", "@cy")]
    assert CodeOwners(text).section_name("docs/agreement.md") == "product"


def test_a_filter_of_two_roles_is_in_both_sections_with_the_people_of_each() -> None:
    both = CLEAN.replace("^docs/:\n    approvers: *product", "^docs/:\n    approvers: [cy, ana]")
    assert re.findall(r"^/docs/ +(.*)$", derived.gitlab(owners_of(both)), re.MULTILINE) == ["@ana", "@cy"]


def test_the_backstage_component_is_owned_by_engineering() -> None:
    found = yaml.safe_load(derived.catalog(owners_of(CLEAN), "null", 'Whom: do we "call"? #1'))
    assert found["metadata"]["name"] == "null"
    assert found["metadata"]["description"] == 'Whom: do we "call"? #1'
    assert found["metadata"]["annotations"]["ownership/product"] == "cy"
    assert found["spec"] == {"type": "ml-model", "lifecycle": "production", "owner": "group:eng"}
    crew = owners_of(CLEAN.replace("acme/eng", "crew"))
    assert yaml.safe_load(derived.catalog(crew, "churn", ""))["spec"]["owner"] == "group:crew"
    alone = owners_of(owners_text({"product": ["cy"]}))
    assert yaml.safe_load(derived.catalog(alone, "churn", ""))["spec"]["owner"] == "user:cy"


URL = "http://127.0.0.1:9/alerts"


def test_alertmanager_routes_each_alert_to_its_role_and_the_rest_to_engineering() -> None:
    found = yaml.safe_load(derived.alertmanager(owners_of(CLEAN), URL))
    assert found["route"]["receiver"] == "engineering"
    assert [each["matchers"] for each in found["route"]["routes"]] == [
        ['owner = "data-science"'],
        ['owner = "product"'],
        ['severity = "ticket"'],
    ]
    assert [each["name"] for each in found["receivers"]] == ["data-science", "product", "engineering"]
    assert {hook["url"] for each in found["receivers"] for hook in each["webhook_configs"]} == {URL}
    quiet = yaml.safe_load(derived.alertmanager(owners_of(owners_text({"product": ["cy"]})), ""))
    assert [each["name"] for each in quiet["receivers"]] == ["product", "engineering"]
    assert not any("webhook_configs" in each for each in quiet["receivers"])


@needs("amtool")
@pytest.mark.parametrize("url", ["", URL])
def test_alertmanagers_own_tool_accepts_the_file_and_routes_by_owner(tmp_path: Path, url: str) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(derived.alertmanager(owners_of(CLEAN), url), encoding="utf-8")
    checked = run("amtool", "check-config", str(path), folder=tmp_path)
    assert checked.returncode == 0, checked.stdout
    routes = {"data-science": "data-science", "product": "product", "engineering": "engineering", "": "engineering"}
    for owner, receiver in routes.items():
        for severity in ("page", "ticket"):
            labels = (f"owner={owner}", f"severity={severity}")
            done = run("amtool", "config", "routes", "test", f"--config.file={path}", *labels, folder=tmp_path)
            assert done.stdout.splitlines()[-1] == receiver


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return `make(text, files)`, which creates a repository with that OWNERS."""

    def made(text: str = CLEAN, files: Iterable[str] = FILES) -> Path:
        return repository(tmp_path, text, [*files])

    return made


GITLAB_FILES = [name for name in FILES if ".github" not in name] + [".gitlab-ci.yml"]


@pytest.mark.parametrize(("files", "name"), [(FILES, derived.GITHUB), (GITLAB_FILES, derived.GITLAB)])
def test_derived_files_have_no_findings_and_are_written_once(make: Make, files: list[str], name: str) -> None:
    root = make(CLEAN, files)
    changes = write(root)
    assert [line.split()[0] for line in changes] == [name, derived.CATALOG, derived.ALERTS]
    assert examine(root, DAY).findings == []
    assert write(root) == ["the files derived from OWNERS are up to date"]


@pytest.mark.parametrize("name", [derived.GITHUB, derived.CATALOG, derived.ALERTS])
def test_an_edited_derived_file_is_an_error_that_make_owners_repairs(make: Make, name: str) -> None:
    root = make()
    write(root)
    path = root / name
    path.write_text(path.read_text(encoding="utf-8") + "edited\n", encoding="utf-8")
    [finding] = examine(root, DAY).findings
    assert (finding.where, finding.refused) == (name, True)
    assert "make owners" in finding.hint
    write(root)
    assert examine(root, DAY).findings == []


def test_a_change_of_owners_makes_the_derived_files_stale(make: Make) -> None:
    root = make()
    write(root)
    (root / "OWNERS").write_text(CLEAN.replace('["cy"]', '["dee"]'), encoding="utf-8")
    assert [each.where for each in examine(root, DAY).findings] == [derived.GITHUB, derived.CATALOG]


def test_the_address_of_alerts_comes_from_make_and_stays_without_make(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make()
    monkeypatch.setenv(ALERT_URL, URL)
    write(root)
    assert f"- url: {URL}" in (root / derived.ALERTS).read_text(encoding="utf-8")
    monkeypatch.delenv(ALERT_URL)
    assert examine(root, DAY).findings == []
    monkeypatch.setenv(ALERT_URL, "http://elsewhere/")
    assert [each.where for each in examine(root, DAY).findings] == [derived.ALERTS]


def test_alerts_are_not_derived_without_a_filter_for_deploy(make: Make) -> None:
    files = [name for name in FILES if not name.startswith("deploy/")]
    before = make(CLEAN.replace("  ^deploy/:\n    approvers: *engineering\n", ""), files)
    write(before)
    assert not (before / derived.ALERTS).exists()
    assert examine(before, DAY).findings == []


def test_alerts_are_not_derived_without_a_service(make: Make) -> None:
    root = make(CLEAN, [name for name in FILES if not name.startswith("lifecycle/deploy/")])
    write(root)
    assert not (root / derived.ALERTS).exists()


@pytest.mark.parametrize("end", ["", f"# once {derived.MARK}\n"])
def test_a_file_without_the_header_is_the_teams_own(make: Make, end: str) -> None:
    root = make()
    (root / derived.GITHUB).write_text(f"* @boss\n{end}", encoding="utf-8")
    assert examine(root, DAY).findings == []
    with pytest.raises(Refused, match="the team's own and was not changed") as caught:
        write(root)
    assert "Move it away" in caught.value.hint
    assert (root / derived.GITHUB).read_text(encoding="utf-8") == f"* @boss\n{end}"
    assert (root / derived.CATALOG).exists()


def test_a_derived_file_may_be_deleted(make: Make) -> None:
    root = make()
    write(root)
    (root / derived.CATALOG).unlink()
    assert examine(root, DAY).findings == []


def test_without_owners_derived_files_are_removed(make: Make) -> None:
    root = make()
    write(root)
    (root / "OWNERS").write_text(owners_text({}), encoding="utf-8")
    assert [line.split(" is removed")[0] for line in write(root)] == [derived.GITHUB, derived.CATALOG, derived.ALERTS]
    assert write(root) == ["the files derived from OWNERS are up to date"]


def test_nothing_is_derived_from_an_owners_file_with_errors(make: Make) -> None:
    root = make(CLEAN.replace("^notebooks/:", "^notebook/:"))
    with pytest.raises(LifecycleError, match="matches no file"):
        write(root)
    assert not (root / derived.GITHUB).exists()

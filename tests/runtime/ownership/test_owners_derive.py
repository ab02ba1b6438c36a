"""What is derived from OWNERS says what OWNERS says, to parsers that are not ours, and is refused when it does not."""

import itertools
import json
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml
from codeowners import CodeOwners
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.errors import LifecycleError, Refused
from lifecycle.ownership import derive
from lifecycle.ownership.patterns import last_match_wins, translate
from lifecycle.ownership.reading import Owners, read
from lifecycle.ownership.repository import ALERT_URL, examine, write
from support.owned import DAY, FILES, owners_text, repository
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


def owners_of(text: str) -> Owners:
    owners, findings = read(text.encode())
    assert findings == []
    return owners


def by_prow(owners: Owners, path: str) -> set[str]:
    """Prow's own rule: the approvers of all filters that match."""
    return {f"@{name}" for each in owners.filters if each.pattern.matches(path) for name in each.approvers}


def by_host(text: str, path: str) -> set[str]:
    """What the independent parser says: in each section, the last line that matches."""
    parsed = CodeOwners(text)
    sections: dict[str | None, list[str]] = {}
    for named, _, _, section in parsed.matching_lines(path):
        sections.setdefault(section, [name for _, name in named])
    return {name for names in sections.values() for name in names}


def paths(number: int) -> list[str]:
    """Paths of a repository and around it, each once; the same every time."""
    choose = random.Random(0)
    made = {"/".join([*choose.choices(NAMES, k=choose.randint(0, 4)), choose.choice(ENDS)]) for _ in range(number * 3)}
    return [*FILES, *sorted(made)]


@pytest.mark.parametrize("text", [CLEAN, WIDE, owners_text({name: ["ana"] for name in ("data_science", "product")})])
@pytest.mark.parametrize("host", [derive.GITHUB, derive.GITLAB])
def test_codeowners_says_of_hundreds_of_paths_what_owners_says(host: str, text: str) -> None:
    owners = owners_of(text)
    derived = derive.derived(owners, "churn", "")[host]
    tried = paths(600)
    assert len(tried) >= 600
    assert [path for path in tried if by_host(derived, path) != by_prow(owners, path)] == []
    assert len({frozenset(by_prow(owners, path)) for path in tried}) >= 2


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
def test_no_set_of_filters_means_something_else_to_codeowners(filters: dict[str, list[str]]) -> None:
    known = [(pattern, tuple(names)) for regex, names in filters.items() if (pattern := translate(regex))]
    assert len(known) == len(filters)
    text = "".join(f"{glob} {' '.join(f'@{name}' for name in names)}\n" for glob, names in last_match_wins(known))
    for path in map("".join, itertools.product(FOLDERS, SUFFIXES)):
        wanted = {f"@{name}" for pattern, names in known if pattern.matches(path) for name in names}
        assert by_host(text, path) == wanted, (path, text)


def test_gitlab_has_a_section_for_each_role() -> None:
    text = derive.gitlab(owners_of(CLEAN))
    assert re.findall(r"^\[(.*)\]$", text, re.MULTILINE) == ["data-science", "engineering", "product"]
    assert CodeOwners(text).of("docs/agreement.md") == [("USERNAME", "@cy")]
    assert CodeOwners(text).section_name("docs/agreement.md") == "product"


def test_a_filter_of_two_roles_stands_in_both_sections_with_the_people_of_each() -> None:
    both = CLEAN.replace("^docs/:\n    approvers: *product", "^docs/:\n    approvers: [cy, ana]")
    assert re.findall(r"^/docs/ +(.*)$", derive.gitlab(owners_of(both)), re.MULTILINE) == ["@ana", "@cy"]


def test_the_ruleset_asks_each_team_with_an_id() -> None:
    text = CLEAN.replace("  review_by", "  github-ruleset: {acme/eng: 4711}\n  review_by")
    whole = json.loads(derive.derived(owners_of(text), "churn", "")[derive.RULESET])
    [rule] = whole["rules"]
    [required] = rule["parameters"]["required_reviewers"]
    assert required["reviewer"] == {"id": 4711, "type": "Team"}
    assert {"config/**/*", "contract.json", "*"} <= {*required["file_patterns"]}
    assert "docs/**/*" not in required["file_patterns"]
    assert derive.RULESET not in derive.derived(owners_of(CLEAN), "churn", "")


def test_prow_gets_a_teams_members_as_an_alias_where_it_is_used() -> None:
    text = CLEAN.replace("  review_by", "  prow: true\n  review_by")
    told = yaml.safe_load(derive.derived(owners_of(text), "churn", "")[derive.ALIASES])
    assert told == {"aliases": {"acme/eng": ["bo"]}}
    assert derive.ALIASES not in derive.derived(owners_of(CLEAN), "churn", "")


def test_backstage_gets_a_component_that_engineering_owns() -> None:
    told = yaml.safe_load(derive.catalog(owners_of(CLEAN), "null", 'Whom: do we "call"? #1'))
    assert told["metadata"]["name"] == "null"
    assert told["metadata"]["description"] == 'Whom: do we "call"? #1'
    assert told["metadata"]["annotations"]["ownership/product"] == "cy"
    assert told["spec"] == {"type": "ml-model", "lifecycle": "production", "owner": "group:eng"}
    crew = owners_of(CLEAN.replace("acme/eng", "crew"))
    assert yaml.safe_load(derive.catalog(crew, "churn", ""))["spec"]["owner"] == "group:crew"
    alone = owners_of(owners_text({"product": ["cy"]}))
    assert yaml.safe_load(derive.catalog(alone, "churn", ""))["spec"]["owner"] == "user:cy"


URL = "http://127.0.0.1:9/alerts"


def test_alertmanager_sends_each_alert_to_its_role_and_the_rest_to_engineering() -> None:
    told = yaml.safe_load(derive.alertmanager(owners_of(CLEAN), URL))
    assert told["route"]["receiver"] == "engineering"
    assert [each["matchers"] for each in told["route"]["routes"]] == [
        ['owner = "data-science"'],
        ['owner = "product"'],
        ['severity = "ticket"'],
    ]
    assert [each["name"] for each in told["receivers"]] == ["data-science", "product", "engineering"]
    assert {hook["url"] for each in told["receivers"] for hook in each["webhook_configs"]} == {URL}
    quiet = yaml.safe_load(derive.alertmanager(owners_of(owners_text({"product": ["cy"]})), ""))
    assert [each["name"] for each in quiet["receivers"]] == ["product", "engineering"]
    assert not any("webhook_configs" in each for each in quiet["receivers"])


@needs("amtool")
@pytest.mark.parametrize("url", ["", URL])
def test_alertmanagers_own_tool_takes_it_and_routes_by_owner(tmp_path: Path, url: str) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(derive.alertmanager(owners_of(CLEAN), url), encoding="utf-8")
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
    """`make(text, files)` is a repository with that OWNERS."""

    def made(text: str = CLEAN, files: Iterable[str] = FILES) -> Path:
        return repository(tmp_path, text, [*files])

    return made


GITLAB_FILES = [name for name in FILES if ".github" not in name] + [".gitlab-ci.yml"]


@pytest.mark.parametrize(("files", "name"), [(FILES, derive.GITHUB), (GITLAB_FILES, derive.GITLAB)])
def test_after_deriving_the_check_is_quiet_and_a_second_time_changes_nothing(
    make: Make, files: list[str], name: str
) -> None:
    root = make(CLEAN, files)
    told = write(root)
    assert [line.split()[0] for line in told] == [name, derive.CATALOG, derive.ALERTS]
    assert examine(root, DAY).findings == ()
    assert write(root) == ["what follows from OWNERS is up to date"]


@pytest.mark.parametrize("name", [derive.GITHUB, derive.CATALOG, derive.ALIASES, derive.RULESET, derive.ALERTS])
def test_a_derived_file_that_was_edited_or_left_behind_is_refused_with_its_line(make: Make, name: str) -> None:
    text = CLEAN.replace("  review_by", "  prow: true\n  github-ruleset: {acme/eng: 4711}\n  review_by")
    root = make(text)
    write(root)
    path = root / name
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:-1], "edited", *lines[-1:]]), encoding="utf-8")
    [finding] = examine(root, DAY).findings
    assert (finding.where, finding.refused) == (f"{name}:{len(lines)}", True)
    assert "make owners" in finding.hint
    write(root)
    assert examine(root, DAY).findings == ()


def test_owners_that_changed_leave_the_derived_files_stale(make: Make) -> None:
    root = make()
    write(root)
    (root / "OWNERS").write_text(CLEAN.replace('["cy"]', '["dee"]'), encoding="utf-8")
    assert [each.where.split(":")[0] for each in examine(root, DAY).findings] == [
        derive.GITHUB,
        derive.CATALOG,
        derive.ALERTS,
    ]


def test_the_address_of_alerts_is_makes_and_stands_where_make_is_not_asked(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make()
    monkeypatch.setenv(ALERT_URL, URL)
    write(root)
    assert f'- url: "{URL}"' in (root / derive.ALERTS).read_text(encoding="utf-8")
    monkeypatch.delenv(ALERT_URL)
    assert examine(root, DAY).findings == ()
    monkeypatch.setenv(ALERT_URL, "http://elsewhere/")
    assert [each.where.split(":")[0] for each in examine(root, DAY).findings] == [derive.ALERTS]


def test_alerts_of_a_repository_that_owns_no_deploy_folder_are_not_derived(make: Make) -> None:
    before = make(CLEAN.replace("  ^deploy/:\n    approvers: *engineering\n", ""))
    write(before)
    assert not (before / derive.ALERTS).exists()
    assert examine(before, DAY).findings == ()


def test_alerts_of_a_model_without_a_service_are_not_derived(make: Make) -> None:
    root = make(CLEAN, [name for name in FILES if not name.startswith("lifecycle/deploy/")])
    write(root)
    assert not (root / derive.ALERTS).exists()


def test_a_file_without_the_header_is_the_teams_own(make: Make) -> None:
    root = make()
    (root / derive.GITHUB).write_text("* @boss\n", encoding="utf-8")
    assert examine(root, DAY).findings == ()
    with pytest.raises(Refused, match="the team's own and was left alone") as caught:
        write(root)
    assert "Move it away" in caught.value.hint
    assert (root / derive.GITHUB).read_text(encoding="utf-8") == "* @boss\n"
    assert (root / derive.CATALOG).exists()


def test_deleting_a_derived_file_is_no_defect(make: Make) -> None:
    root = make()
    write(root)
    (root / derive.CATALOG).unlink()
    assert examine(root, DAY).findings == ()


def test_while_nobody_answers_there_is_nothing_to_derive_and_nothing_stays_behind(make: Make) -> None:
    root = make()
    write(root)
    (root / "OWNERS").write_text(owners_text({}), encoding="utf-8")
    assert [line.split(" is removed")[0] for line in write(root)] == [derive.GITHUB, derive.CATALOG, derive.ALERTS]
    assert write(root) == ["nobody answers yet: there is nothing to derive"]


def test_nothing_is_derived_from_what_is_refused(make: Make) -> None:
    root = make(CLEAN.replace("^notebooks/:", "^notebook/:"))
    with pytest.raises(LifecycleError, match="matches no file"):
        write(root)
    assert not (root / derive.GITHUB).exists()

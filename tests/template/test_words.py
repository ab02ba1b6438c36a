"""Paths, commands, variables and links that a page names exist: words that drift from the code are found here."""

import re
from functools import cache
from pathlib import Path

import pytest

from support.rendering import ROOT, TEMPLATE, rendered_name, template_files

PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *[path for path in template_files() if path.name.endswith((".md", ".md.jinja"))],
]
MADE = (
    "build/",
    "dist/",
    "data/",
    "storage/",
    "registry.example.org/",
    "deployments/",
    ".venv/",
    ".uv/",
    "uv.lock",
    "churn/",
    "docs/contract-report.md",
    # What `make card` writes, and a part of the address of a version.
    "docs/model-card.md",
    "versions/VERSION",
    # What `make slo` derives.
    "docs/slo-rules.yml",
    "bundle.json",
    "card.md",
    # What `make lift` writes.
    "docs/lift-report.md",
    "src/model/lifted",
    "tests/lifted.json",
    "tests/test_lifted.py",
    "lifted.json",
    "learned.py",
    "export.json",
    "../",
    "upstream/",
    # What only a company's fork has.
    "fork/",
    # What `make owners` writes, and what its page gives for an example.
    ".github/CODEOWNERS",
    ".github/rulesets/",
    ".gitlab/",
    "catalog-info.yaml",
    "deploy/alertmanager.yml",
    # Versions of the objects of other platforms.
    "serving.kserve.io/",
    "serving.knative.dev/",
    "gitlab-ci.yml",
    "acme/",
    "folder/",
)
MAKEFILES = [ROOT / "Makefile", TEMPLATE / "Makefile", *(TEMPLATE / "lifecycle").glob("*.mk")]
CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
PATH = re.compile(r"(?<![\w:/.@$-])(?:[\w.-]+/)+[\w.-]*|\.?\b[\w-]+\.(?:md|toml|yml|yaml|json|mk|py|sql)\b")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def code(page: Path) -> list[str]:
    """The lines of code on a page: those of its blocks, and what stands between backticks."""
    found = CODE.findall(re.sub(r"\{\{.*?\}\}", "", page.read_text(encoding="utf-8")))
    return [line.split(" #")[0].strip() for block, inline in found for line in (block or inline).splitlines()]


@each_page
def test_no_page_holds_what_a_merge_left_open(page: Path) -> None:
    left = re.compile(r"^(?:<{7}|={7}|>{7})(?: |$)", re.MULTILINE)
    assert not left.search(page.read_text(encoding="utf-8"))


@cache
def makefiles() -> str:
    """All that make reads, of the template and of a render."""
    return "\n".join(path.read_text(encoding="utf-8") for path in MAKEFILES)


@cache
def known_paths() -> set[str]:
    """Files and folders of the checkout and of a render."""
    here = [
        path.relative_to(ROOT).as_posix()
        for folder in ("hooks", "maintenance", "tests", "docs", "benchmarks", ".ci", ".github")
        for path in (ROOT / folder).rglob("*")
    ]
    here += [path.name for path in ROOT.iterdir()]
    names = [*here, *map(rendered_name, template_files()), *(f"template/{rendered_name(p)}" for p in template_files())]
    return {str(each) for name in names for each in (Path(name), *Path(name).parents)}


@each_page
def test_every_make_goal_exists(page: Path) -> None:
    goals = set(re.findall(r"^([a-z][a-z-]*):", makefiles(), re.MULTILINE))
    for line in code(page):
        for call in re.findall(r"(?:^|&& |; )make((?: [^\s&;|]+)*)", line):
            words = re.sub(r"""("[^"]*"|'[^']*')""", "", call).split()
            assert {word for word in words if "=" not in word and word.isascii()} <= goals, line


@each_page
def test_every_make_variable_is_read(page: Path) -> None:
    for line in code(page):
        if re.search(r"(^|&& )make ", line) or re.fullmatch(r"[A-Z]+=\S+", line):
            for name in re.findall(r"\b([A-Z]+)=", line):
                assert re.search(rf"[$(, ]{name}\)|\$\(if \$\({name}\)", makefiles()), line


@each_page
def test_every_path_exists(page: Path) -> None:
    for line in code(page):
        for word in PATH.findall(line):
            if "://" in line or word.startswith(MADE) or "=" in line:
                continue
            name = word.rstrip("/")
            # The pattern sees a hidden file without its dot.
            hidden = f".{name}"
            assert any(path in (name, hidden) or path.endswith(f"/{name}") for path in known_paths()), f"{word}: {line}"


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target.split("#")[0]).exists(), target


@each_page
def test_every_address_of_the_service_is_served(page: Path) -> None:
    served = "\n".join(path.read_text(encoding="utf-8") for path in (TEMPLATE / "lifecycle").rglob("serving/*.py"))
    for line in code(page):
        for address in re.findall(r"^(/[a-z]+)$|:8000(/[a-z]+)", line):
            name = "".join(address)
            assert f'"{name}"' in served or name == "/docs", line


def test_the_readme_names_every_question() -> None:
    from support.rendering import questions

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(questions())


def test_the_changelog_begins_with_what_is_not_released() -> None:
    assert re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[0] == "Not released"


def test_the_decisions_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    for number, name in enumerate(names, 1):
        assert name.startswith(f"{number:04}-")
        assert (ROOT / "docs/decisions" / name).read_text(encoding="utf-8").startswith(f"# {number}. ")

"""Read what storage, git and the files of a repository record about its deployed version; nothing is computed here.

Only what is about the deployed version counts, and only while contract and features are those of the repository.
"""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifecycle import registry, timestamps
from lifecycle.contract.compatibility import RELEASED, released
from lifecycle.contract.schema import Contract, Target
from lifecycle.errors import LifecycleError
from lifecycle.registry import deployments
from lifecycle.settings import Settings, load
from looseleaf.snapshot import git, succeeds

Document = dict[str, Any]
YEAR, OWN = Path("build/year"), Path("build/ready")
TESTS, DRILLS, SQL = Path("build/tests.xml"), OWN / "drills.json", Path("src/model/features.sql")
TRAIN = "make train promote"


@dataclass(frozen=True)
class Item:
    """A document of evidence, the time at which it was made (seconds), and its path below the repository."""

    document: Document
    at: int
    path: str


NOTHING, NO_CONTRACT = Item({}, 0, ""), Contract(0, Target("regression", ""), ())


@dataclass(frozen=True)
class History:
    """Where predictions were logged: a storage with the tables of that time, and whether a year was simulated."""

    storage: Path
    data: Path
    environment: str
    version: str
    is_simulated: bool


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks read; `problem` is why nothing counts, and then all other fields are empty.

    `bundle` is the content of bundle.json, `held_out` that of evidence.json, `decision` the gate's newest one about the
    version, `report` the newest report of monitoring, `quality` the newest that measured it, and `history` the
    predictions behind both. `tests` has the outcomes
    by name of test, `drills` what `drills.run` recorded. contract.json `is_committed` as it is, and was last changed at
    `contract_changed`. `open_questions` are those of docs/agreement.md.
    """

    root: Path
    environment: str
    settings: Settings
    now: int
    problem: str = ""
    version: str = ""
    contract: Contract = NO_CONTRACT
    bundle: Item = NOTHING
    held_out: Item | None = None
    decision: Item | None = None
    report: Item | None = None
    quality: Item | None = None
    history: History | None = None
    tests: Item | None = None
    drills: dict[str, Item] = field(default_factory=dict)
    audit: list[Document] = field(default_factory=list)
    is_committed: bool = False
    contract_changed: int | None = None
    open_questions: list[str] = field(default_factory=list)

    @property
    def facts(self) -> Document:
        """The content of bundle.json."""
        return self.bundle.document

    @property
    def is_simulated(self) -> bool:
        """Whether the log behind the reports is that of a simulated year."""
        return bool(self.history and self.history.is_simulated)

    def numbers(self, check: str) -> Document:
        """Return a check of the gate's decision, with its outcome, text and numbers; empty without one."""
        checks = self.decision.document.get("checks", []) if self.decision else []
        return next((each for each in checks if each["name"] == check), {})


def read(root: Path, environment: str, now: int | None = None) -> Evidence:
    """Return the evidence about the version that is deployed in an environment of the repository `root`.

    `now` is in seconds, by default the clock's. Raises LifecycleError where settings, contract.json, the deployment or
    docs/agreement.md are not valid.
    """
    settings = load(root, environment).settings
    settings = settings.model_copy(update={name: root / getattr(settings, name) for name in ("storage", "data")})
    store, now = settings.store, timestamps.now() if now is None else now
    store.pull()
    open_questions = registry.open_questions(root)

    def without(problem: str) -> Evidence:
        return Evidence(root, environment, settings, now, f"{problem}; {TRAIN}", open_questions=open_questions)

    if (deployed := deployments.read(store, environment)) is None:
        return without(f"nothing is deployed in {environment}")
    version, contract = deployed.current.version, released(root)
    folder = store.bundles / version
    store.pull(f"bundles/{version}")
    bundle = _json(root, folder / "bundle.json")
    if bundle is None:
        return without(f"the deployed version {version} is not in the storage")
    if not _is_same(root, folder, contract):
        return without(f"{version} was trained for another contract or other features than the repository has")
    bundle = Item(bundle.document, timestamps.parse(bundle.document["created"]), bundle.path)
    drills = dict(_drills(root, version, settings.data))
    rebuilt = drills["pipeline"].document.get("data") if "pipeline" in drills else None
    if rebuilt not in (None, bundle.document["data"]):
        return without(f"the tables give other rows as of {bundle.document['as_of']} than those of {version}")
    report, quality, history = _report(root, settings, environment, version, contract)
    values: Document = {"version": version, "contract": contract, "bundle": bundle}
    values |= {"report": report, "quality": quality, "history": history, "open_questions": open_questions}
    values |= {"held_out": _json(root, folder / "evidence.json"), "tests": _tests(root, bundle.at), "drills": drills}
    decision = _decision(root, settings, environment, version)
    values |= {"decision": decision, "audit": deployments.audit_entries(store)}
    if succeeds("rev-parse", "HEAD", folder=root):
        changed = git("log", "-1", "--format=%ct", "--", RELEASED, folder=root)
        is_committed = not registry.uncommitted(root, RELEASED)
        values |= {"contract_changed": int(changed or 0) or None, "is_committed": is_committed}
    return Evidence(root, environment, settings, now, **values)


def _is_same(root: Path, folder: Path, contract: Contract) -> bool:
    """Return whether a bundle has the contract and the features of the repository."""
    try:
        own = Contract.from_json((folder / "contract.json").read_bytes())
    except (OSError, LifecycleError):
        return False
    texts = [path.read_bytes() if path.is_file() else b"" for path in (root / SQL, folder / "features.sql")]
    return own == contract and texts[0] == texts[1]


def _json(root: Path, path: Path) -> Item | None:
    try:
        document = json.loads(path.read_bytes())
        shown = str(path.relative_to(root) if path.is_relative_to(root) else path)
        return Item(document, int(path.stat().st_mtime), shown) if isinstance(document, dict) else None
    except (OSError, ValueError):
        return None


def _decision(root: Path, settings: Settings, environment: str, version: str) -> Item | None:
    """Return the newest decision about a version that ran the checks, which one about a threshold alone does not."""
    for path in sorted((settings.store.reports / environment / "decisions").glob(f"{version}-*.json"), reverse=True):
        found = _json(root, path)
        if found and any(check["name"] == "size" for check in found.document.get("checks", ())):
            return Item(found.document, timestamps.parse(found.document["decided_at"]), found.path)
    return None


def _report(
    root: Path, settings: Settings, environment: str, version: str, contract: Contract
) -> tuple[Item | None, Item | None, History | None]:
    """Return the newest report about the version, the newest with quality, and their log.

    Where the version predicted nothing yet, those are of a simulated year with the same contract, whatever its version.
    """
    own = History(settings.store.root, settings.data, environment, version, False)
    report, quality = _newest(root, settings.store.reports / environment, {version})
    if report:
        return report, quality, own
    year, played = root / YEAR, _json(root, root / "build/year.json")
    same = {path.name for path in (year / "storage/bundles").glob("[!.]*") if _is_same(root, path, contract)}
    report, quality = _newest(root, year / "storage/reports/local", same)
    if not report or not played:
        return None, None, None
    history = History(year / "storage", year / "data", "local", report.document["version"], True)
    # The year is as old as the run that played it, not as its simulated dates.
    report, quality = (each and Item(each.document, played.at, each.path) for each in (report, quality))
    return report, quality, history


def _newest(root: Path, folder: Path, versions: set[str]) -> tuple[Item | None, Item | None]:
    """Return the newest report about predictions of these versions, and the newest one that measured quality."""
    found = (_json(root, path) for path in sorted(folder.glob("*/monitoring.json"), reverse=True))
    served = [
        Item(each.document, timestamps.parse(each.document["as_of"]), each.path)
        for each in found
        if each and each.document["version"] in versions and each.document["windows"][-1]["rows"]
    ]
    measured = (each for each in served if (each.document["quality"] or {}).get("overall"))
    return next(iter(served), None), next(measured, None)


def _tests(root: Path, trained: int) -> Item | None:
    """Return the outcomes of `make test` by `file::test`, if it ran after the last change of the code it tests."""
    path = root / TESTS
    try:
        cases, at = ElementTree.parse(path).getroot().iter("testcase"), int(path.stat().st_mtime)
    except (OSError, ElementTree.ParseError):
        return None
    code = [each for name in ("src", "tests") for each in (root / name).rglob("*") if each.suffix in (".py", ".sql")]
    if at < max((int(each.stat().st_mtime) for each in code), default=0) or at < trained:
        return None
    named = ((f"{case.get('classname')}::{case.get('name')}", case) for case in cases)
    outcomes = {name: next((each.tag for each in case), "passed") for name, case in named}
    return Item(outcomes, at, str(TESTS))


def _drills(root: Path, version: str, data: Path) -> Iterator[tuple[str, Item]]:
    """Yield what was recorded about a version since its tables last changed."""
    found = _json(root, root / DRILLS)
    changed = max((int(path.stat().st_mtime) for path in data.glob("*")), default=0)
    if found and found.document.get("version") == version:
        for name, document in found.document["drills"].items():
            if document["at"] >= changed:
                yield name, Item(document, int(document["at"]), str(DRILLS))

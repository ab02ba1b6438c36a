"""`looseleaf contract infer`: the repository in the current folder becomes one about a table."""

import argparse
import filecmp
import importlib.resources
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from lifecycle import origin, settings
from lifecycle.contract.compatibility import breaking
from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.bundle import open_version
from lifecycle.registry import deployments
from lifecycle.sample import generate
from lifecycle.storage import Store
from looseleaf.contract import ask, prose, report, texts
from looseleaf.contract.decide import Ask, Plan, Wishes, decide
from looseleaf.contract.files import REPORT, Changes, backup, link
from looseleaf.contract.profile import look
from looseleaf.contract.source import open_source, refuse_larger_than_disk

MEMORY = "2GB"
FIRST = 10_000
MODEL = "src/model"
# What jobs leave in the storage; nothing else in that folder is ours to remove.
STORED = ("bundles", "deployments", "features", "scores", "audit.jsonl", ".audit.lock", "mlflow.db", "mlruns")
SAMPLES_TABLES = ("customers.parquet", "events.parquet", "labels.parquet")
OWN_TESTS = ("conftest", "test_behaviour", "test_data", "test_gates", "test_notebook")
# Without these a contract cannot be written; every other file that was edited is left as it is.
PROSE = ("README.md", "docs/agreement.md")
NEEDED = (f"{MODEL}/contract.py", f"{MODEL}/data.py", f"{MODEL}/features.sql", "contract.json")
CODES = "E501,RUF001,RUF002,RUF003,PLE2502,N815"


def run(given: argparse.Namespace) -> int:
    """Infer and write; 0 when it is done, 1 when it cannot be, 130 on Ctrl-C."""
    import duckdb

    try:
        infer(Path.cwd(), given, ask.somebody(given.yes))
    except LifecycleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (OSError, duckdb.Error) as error:
        print(f"error: {given.data}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def infer(root: Path, given: argparse.Namespace, who: Ask) -> None:
    """Look at the file, decide, and write all files or none; raises LifecycleError."""
    import duckdb

    if not (root / MODEL / "contract.py").exists():
        raise LifecycleError(f"{root} holds no {MODEL}/contract.py", "Run this in the root of a rendered repository.")
    with tempfile.TemporaryDirectory() as scratch:
        connection = duckdb.connect(config={"threads": 1, "memory_limit": MEMORY, "temp_directory": scratch})
        connection.execute("SET TimeZone = 'UTC'")
        source = open_source(given.data, connection, Path(scratch))
        refuse_larger_than_disk(source, root)
        label = given.label or ask.label(list(source.columns), isinstance(who, ask.Person))
        keep = frozenset(name.strip() for name in given.keep.split(",") if name.strip())
        wishes = Wishes(label, given.key or None, given.time or None, given.target, keep)
        plan = decide(look(source, connection), wishes, connection, who)
        draft = Draft.of(root, plan, pristine(root))
        for line in report.lines(plan):
            print(line)
        if given.diff:
            changed = draft.changed
            told = [*draft.difference, f"would be written: {', '.join(changed)}"] if changed else ["nothing changes"]
            print("\n".join(told))
            return
        try_out(plan, draft.made, _text(draft.contents[f"{MODEL}/data.py"]), draft.file, connection)
        draft.write(given.force)


@dataclass(frozen=True)
class Draft:
    """All that is to be written about a plan. `sample` says whether the repository still is the sample's."""

    root: Path
    plan: Plan
    file: str
    folder: Path
    made: Contract
    contents: dict[str, bytes | None]
    pristine: Mapping[str, bytes]
    sample: bool
    difference: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, plan: Plan, pristine: Mapping[str, bytes]) -> "Draft":
        """The draft of a plan; raises LifecycleError where the repository cannot take it."""
        config = settings.load(root).settings
        store = Store(root / config.storage)
        file = _place(plan, root / config.data)
        released = root / "contract.json"
        old = Contract.from_json(released.read_bytes()) if released.exists() else None
        sample = old is None or released.read_bytes() == pristine.get("contract.json")
        version = 1 if sample or old is None else old.version
        made = _derived(texts.contract(plan, file, version))
        breaks = [] if sample or old is None else breaking(old, made)
        if breaks:
            version += 1
        elif sample and not _is_samples(store, pristine):
            version = 1 + max((live.version for live in _live(store)), default=0)
        made, text = replace(made, version=version), texts.contract(plan, file, version)
        difference = [] if sample or old is None else report.difference(old, made, breaks)
        contents = dict(_contents(root, plan, file, text, made, pristine))
        return cls(root, plan, file, root / config.data, made, contents, pristine, sample, tuple(difference))

    @property
    def changed(self) -> list[str]:
        """The files that would be other ones."""
        there = {name: path.read_bytes() if (path := self.root / name).exists() else None for name in self.contents}
        return [name for name, content in self.contents.items() if content != there[name]]

    def write(self, force: bool) -> None:
        """Put everything in its place, and clear the sample away."""
        edited = Changes(self.root, self.contents, self.pristine).edited()
        merged = [name for name in edited if name in PROSE]
        left = [name for name in edited if name not in (*NEEDED, *PROSE) and not force]
        contents = {name: content for name, content in self.contents.items() if name not in left}
        removed = [name for name, content in contents.items() if content is None and name in self.pristine]
        written = {name: content for name, content in contents.items() if content is not None}
        recorded = {name: content for name, content in written.items() if name not in merged}
        page = report.page(self.plan, _call(self.plan, self.root, self.file), recorded, removed, list(self.difference))
        changes = Changes(self.root, contents | {REPORT: page.encode()}, self.pristine, frozenset(merged))
        changes.refuse_edited(force)
        source = self.plan.table.source
        place = self.folder / self.file
        before = place.readlink() if place.is_symlink() else None
        kept = place.exists() and not source.copy and place.samefile(source.path)
        if source.copy:
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() and not filecmp.cmp(place, source.copy, shallow=False):
                print(f"{place.name} was another file: the old one is {backup(place)}")
            shutil.move(source.copy, place)
        elif not kept:
            link(source.path, self.folder, self.file)
        try:
            backups = changes.apply()
        except BaseException:
            if place.is_symlink() and not kept:
                place.unlink()
                if before:
                    place.symlink_to(before)
            raise
        told = [f"{name} was edited: the old one is {copy}" for name, copy in backups.items()]
        told += [f"{name} was edited: only passages that were the template's are new" for name in merged]
        told += [f"{name} was edited and is left as it is; it may speak of columns that are gone" for name in left]
        told += self._clear_sample() if self.sample else []
        told += [why] if (why := _not_ignored(self.root, source.path)) else []
        shown = ", ".join(name for name in written if not name.startswith("tests/"))
        print("\n".join([*told, *self.difference, "", f"written: {shown}, tests/, {REPORT}"]))
        print(f"next: make check test train promote{' score' if 'lifecycle/batch.mk' in self.pristine else ''}")

    def _clear_sample(self) -> list[str]:
        told = []
        store = Store(self.root / settings.load(self.root).settings.storage)
        inside = store.root.resolve() != self.root.resolve() and store.root.resolve().is_relative_to(
            self.root.resolve()
        )
        there = [path for name in STORED if (path := store.root / name).exists()] if inside else []
        links = any(path.is_symlink() for path in (store.root, *there))
        if there and (links or not store.versions() or not _is_samples(store, self.pristine)):
            told.append(f"{store.root} is kept: not all in it was trained on the sample")
        elif there:
            for path in there:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not any(store.root.iterdir()):
                store.root.rmdir()
            told.append(f"what was trained on the sample is removed: {', '.join(path.name for path in there)}")
        tables = [self.folder / name for name in SAMPLES_TABLES]
        if self.file not in SAMPLES_TABLES and not self.folder.is_symlink() and _are_samples(tables):
            for path in tables:
                path.unlink()
            told.append(f"the sample's tables are removed: {', '.join(SAMPLES_TABLES)}")
        return told


def try_out(plan: Plan, made: Contract, text: str, file: str, connection: Any) -> int:
    """Read the rows through data.py as training will, before anything is written; returns how many have a label.

    Raises LifecycleError where data.py does not give what the contract says.
    """
    data: Any = ModuleType("data")
    exec(compile(text, f"{MODEL}/data.py", "exec"), data.__dict__)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(plan.table.source.readable)
        data.tables(connection, Path(folder))
        moment = point_in_time.latest(connection, data)
        if plan.table.is_sample:
            # Every value has been read by now; what is left to see is that the columns are those of the contract.
            connection.execute(f"CREATE OR REPLACE TEMP TABLE first AS FROM source LIMIT {FIRST}")
            connection.execute("CREATE OR REPLACE TEMP VIEW source AS FROM first")
        return point_in_time.training_rows(connection, Team("", made, None, data, SimpleNamespace()), moment)


def pristine(root: Path) -> dict[str, bytes]:
    """What the template rendered here, from the commit it was rendered from; raises LifecycleError."""
    import yaml
    from copier import run_copy

    source = origin.recorded(root)
    told = (
        yaml.safe_load((root / origin.ANSWERS).read_text(encoding="utf-8")) if (root / origin.ANSWERS).exists() else {}
    )
    answers = {name: value for name, value in (told or {}).items() if not name.startswith("_")}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        into = Path(folder) / "render"
        # A folder without a commit is taken as it lies; Copier clones the address of a checkout.
        is_folder = "://" not in source.url and "@" not in source.url
        url = f"git+{Path(source.url).as_uri()}" if is_folder and source.commit else source.url
        try:
            run_copy(url, into, data=answers, vcs_ref=source.commit or "HEAD", defaults=True, quiet=True, unsafe=False)
        except Exception as error:
            problem = f"the template cannot be rendered from {source.url} ({type(error).__name__}: {error})"
            raise LifecycleError(problem, origin.HINT) from error
        return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def _contents(
    root: Path, plan: Plan, file: str, contract: str, made: Contract, pristine: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes | None]]:
    yield f"{MODEL}/contract.py", formatted(root, f"{MODEL}/contract.py", contract)
    yield f"{MODEL}/data.py", formatted(root, f"{MODEL}/data.py", texts.data(plan, file))
    estimator = texts.estimator(_text(pristine[f"{MODEL}/estimator.py"]), plan.target.task == "regression")
    yield f"{MODEL}/estimator.py", formatted(root, f"{MODEL}/estimator.py", estimator)
    yield f"{MODEL}/features.sql", None
    yield "contract.json", made.to_json().encode()
    own = importlib.resources.files("looseleaf.contract") / "own"
    for name in OWN_TESTS:
        yield f"tests/{name}.py", (own / "tests" / f"{name}.py").read_bytes()
    yield "tests/test_features.py", None
    yield "notebooks/first_look.ipynb", (own / "notebooks" / "first_look.ipynb").read_bytes()
    sent = texts.request(made, plan)
    wide = len(sent) > texts.INLINE_FIELDS and "lifecycle/online.mk" in pristine
    yield texts.REQUEST, (json.dumps(sent, ensure_ascii=False, indent=2) + "\n").encode() if wide else None
    base, local = texts.config(plan, _text(pristine["config/base.yaml"]))
    yield "config/base.yaml", base.encode()
    yield "config/local.yaml", local.encode() if local else None
    yield from _prose(root, plan, file, sent, pristine)


def _prose(
    root: Path, plan: Plan, file: str, sent: dict[str, Any], pristine: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """Pages of the team that speak of the sample: what somebody has written there stays."""
    edited = Changes(root, dict.fromkeys(PROSE), pristine).edited()
    for name in PROSE:
        path = root / name
        if not path.exists() or name not in pristine:
            continue
        ours = _text(pristine[name])
        there = ours if name not in edited else _text(path.read_bytes())
        if name == "README.md":
            old = sections(ours)
            new = prose.readme(old, plan, file, _call(plan, root, file), sent)
            parts = sections(there).items()
            told = (
                heading_line(heading) + (new[heading] if body == old.get(heading) else body) for heading, body in parts
            )
            yield name, "".join(told).encode()
        else:
            yield name, prose.agreement(there, plan).encode()


def sections(page: str) -> dict[str, str]:
    """The text below each heading of the second level; before the first one, the heading is empty."""
    found = {"": ""}
    heading = ""
    for line in page.splitlines(keepends=True):
        if line.startswith("## "):
            heading = line.removeprefix("## ").strip()
            found[heading] = ""
        else:
            found[heading] += line
    return found


def heading_line(heading: str) -> str:
    """A heading as it stands on a page."""
    return f"## {heading}\n" if heading else ""


def formatted(root: Path, name: str, text: str) -> bytes:
    """The text as the repository's own ruff wants it; names that break a rule of style are let through."""
    ruff = str(root / ".venv" / "bin" / "ruff")

    def asked(*words: str, given: str) -> "subprocess.CompletedProcess[str]":
        command = [ruff, *words, "--stdin-filename", name, "-"]
        try:
            return subprocess.run(command, cwd=root, input=given, capture_output=True, text=True, encoding="utf-8")
        except FileNotFoundError:
            raise LifecycleError(f"{ruff} is missing", "Run `make setup` first.") from None

    done = asked("check", "--quiet", "--fix", "--select", "I,RUF022", given=text)
    done = asked("format", "--quiet", given=done.stdout or text)
    if done.returncode:
        raise LifecycleError(f"{name} cannot be formatted: {done.stderr.strip()}", "Please report this.")
    found = asked("check", "--quiet", "--output-format", "json", "--select", CODES, given=done.stdout)
    codes = sorted({each["code"] for each in json.loads(found.stdout or "[]")})
    return ((f"# ruff: noqa: {', '.join(codes)}\n" if codes else "") + done.stdout).encode()


def _derived(text: str) -> Contract:
    module = ModuleType("contract")
    exec(compile(text, f"{MODEL}/contract.py", "exec"), module.__dict__)
    return derive(module.ROW, module.TARGET, module.VERSION)


def _place(plan: Plan, folder: Path) -> str:
    """The name of the file below the data folder."""
    source = plan.table.source
    if source.copy:
        return source.copy.name
    given = Path(os.path.normpath(Path(source.given).expanduser().absolute()))
    for path in (given, source.path):
        if path.is_relative_to(folder.absolute()):
            return path.relative_to(folder.absolute()).as_posix()
    return given.name


def _are_samples(tables: list[Path]) -> bool:
    """Whether these are the files that the sample writes, byte for byte."""
    if any(path.is_symlink() or not path.is_file() for path in tables):
        return False
    with tempfile.TemporaryDirectory() as folder:
        generate.write(Path(folder))
        return all(path.read_bytes() == (Path(folder) / path.name).read_bytes() for path in tables)


def _is_samples(store: Store, pristine: Mapping[str, bytes]) -> bool:
    return all(
        (store.bundles / name / "contract.json").read_bytes() == pristine.get("contract.json")
        for name in store.versions()
    )


def _live(store: Store) -> Iterator[Contract]:
    for environment in settings.ENVIRONMENTS:
        if found := deployments.read(store, environment):
            yield open_version(store, found.live.version).contract


def _call(plan: Plan, root: Path, file: str) -> str:
    """The call that repeats this; a data folder elsewhere is this machine's business, and not written down."""
    folder = settings.load(root).settings.data
    return texts.call(plan, (folder / file).as_posix() if not folder.is_absolute() else file)


def _not_ignored(root: Path, path: Path) -> str | None:
    """A word about a file that the next `git add` would commit."""
    if not path.is_relative_to(root.resolve()):
        return None
    ignored = subprocess.run(["git", "-C", str(root), "check-ignore", "--quiet", str(path)], capture_output=True)
    if ignored.returncode == 0:
        return None
    return f"{path.relative_to(root.resolve())} stands where git would commit it: move it to data/, which is ignored"


def _text(content: bytes | None) -> str:
    return (content or b"").decode()

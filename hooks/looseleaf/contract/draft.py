"""All files that a plan creates, changes or removes in a repository."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from lifecycle import settings
from lifecycle.contract.compatibility import breaking_changes
from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, refuse_link
from looseleaf.contract import generated, prose, report, texts
from looseleaf.contract.changes import REPORT, Changes, is_of_sample, link, remove_sample, stored_contracts
from looseleaf.contract.plan import Plan
from looseleaf.snapshot import succeeds

MODEL = "src/model"
OWN_TESTS = ("conftest", "test_behaviour", "test_data", "test_gates", "test_notebook")
PAGES = ("README.md", "docs/agreement.md")
# The contract depends on these files; every other edited file is left unchanged.
NEEDED = (f"{MODEL}/contract.py", f"{MODEL}/data.py", f"{MODEL}/features.sql", "contract.json")
# Rules of ruff that names of columns may break.
NAME_RULES = "E501,RUF001,RUF002,RUF003,PLE2502,N815"

# The default of the question `decision`.
SAMPLE_DECISION = "Customer care calls the customers who are about to leave"


@dataclass(frozen=True)
class Draft:
    """The result of a plan before it is written. `is_sample`: the repository still is about the sample."""

    root: Path
    plan: Plan
    file: str
    folder: Path
    contract: Contract
    contents: dict[str, bytes | None]
    pristine: Mapping[str, bytes]
    is_sample: bool
    difference: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, plan: Plan, pristine: Mapping[str, bytes]) -> "Draft":
        """Return the draft of a plan; raises LifecycleError if the repository cannot take it."""
        config = settings.load(root).settings
        store = Store(root / config.storage)
        file = _file_name(plan, root / config.data)
        released = root / "contract.json"
        is_sample = not released.exists() or released.read_bytes() == pristine.get("contract.json")
        old = None if is_sample else Contract.from_json(released.read_bytes())
        version = old.version if old else 1
        contract = derived(generated.contract(plan, file, version))
        breaks = breaking_changes(old, contract) if old else []
        if breaks:
            version += 1
        elif is_sample and not is_of_sample(store, pristine):
            version = 1 + max((each.version for each in stored_contracts(store)), default=0)
        contract, text = replace(contract, version=version), generated.contract(plan, file, version)
        difference = report.difference(old, contract, breaks) if old else []
        contents = dict(_contents(root, plan, file, text, contract, pristine))
        return cls(root, plan, file, root / config.data, contract, contents, pristine, is_sample, tuple(difference))

    @property
    def data_module(self) -> str:
        """The text of src/model/data.py."""
        return (self.contents[f"{MODEL}/data.py"] or b"").decode()

    @property
    def changed(self) -> list[str]:
        """Names of the files whose content would change."""
        current = {name: path.read_bytes() if (path := self.root / name).exists() else None for name in self.contents}
        return [name for name, content in self.contents.items() if content != current[name]]

    def write(self, force: bool) -> list[str]:
        """Write all files and remove the sample; returns lines for the terminal."""
        edited = Changes(self.root, self.contents, self.pristine).edited()
        merged = [name for name in edited if name in PAGES]
        kept = [name for name in edited if name not in (*NEEDED, *PAGES) and not force]
        contents = {name: content for name, content in self.contents.items() if name not in kept}
        removed = [name for name, content in contents.items() if content is None and name in self.pristine]
        written = {name: content for name, content in contents.items() if content is not None}
        recorded = {name: content for name, content in written.items() if name not in merged}
        command = _command(self.plan, self.root, self.file)
        page = report.page(self.plan, command, recorded, removed, list(self.difference))
        changes = Changes(self.root, contents | {REPORT: page.encode()}, self.pristine, frozenset(merged))
        changes.refuse_edited(force)
        changed = {name for name in self.changed if name in written}
        lines = self._place_table(changes)
        lines += [f"{name} was edited: only passages of the template were replaced" for name in merged]
        lines += [f"{name} was edited and is unchanged; it may mention columns that were removed" for name in kept]
        lines += remove_sample(self.root, self.folder, self.file, self.pristine) if self.is_sample else []
        lines += [warning] if (warning := _not_ignored(self.root, self.plan.table.source.path)) else []
        if SAMPLE_DECISION in " ".join((self.contents.get("README.md") or b"").decode().split()):
            lines.append("README.md and docs/agreement.md state the decision of the sample: replace it with yours")
        shown = [name for name in written if name in changed and not name.startswith("tests/")]
        shown += ["tests/"] if any(name.startswith("tests/") for name in changed) else []
        lines += [*self.difference, "", f"written: {', '.join([*shown, REPORT])}"]
        score = " score" if "lifecycle/docs/scoring.md" in self.pristine else ""
        return [*lines, f"next: make check test train promote{score}"]

    def _place_table(self, changes: Changes) -> list[str]:
        """Link or copy the table into the data folder and apply the changes, or neither."""
        source = self.plan.table.source
        place = self.folder / self.file
        before = place.readlink() if place.is_symlink() else None
        is_there = place.exists() and place.samefile(source.path)
        if not is_there:
            refuse_link(self.folder)
            link(source.path, self.folder, self.file)
        try:
            backups = changes.apply()
        except BaseException:
            if place.is_symlink() and not is_there:
                place.unlink()
                if before:
                    place.symlink_to(before)
            raise
        return [f"{name} was edited: its backup is {copy}" for name, copy in backups.items()]


def _contents(
    root: Path, plan: Plan, file: str, contract_text: str, contract: Contract, pristine: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes | None]]:
    yield f"{MODEL}/contract.py", formatted(root, f"{MODEL}/contract.py", contract_text)
    yield f"{MODEL}/data.py", formatted(root, f"{MODEL}/data.py", generated.data(plan, file))
    estimator = generated.estimator(pristine[f"{MODEL}/estimator.py"].decode(), plan.target.task == "regression")
    yield f"{MODEL}/estimator.py", formatted(root, f"{MODEL}/estimator.py", estimator)
    yield f"{MODEL}/features.sql", None
    yield "contract.json", contract.to_json().encode()
    for name in OWN_TESTS:
        yield f"tests/{name}.py", (texts.OWN / "tests" / f"{name}.py").read_bytes()
    yield "tests/test_features.py", None
    yield "notebooks/first_look.ipynb", (texts.OWN / "notebooks" / "first_look.ipynb").read_bytes()
    request = generated.request(contract, plan)
    is_wide = len(request) > texts.INLINE_FIELDS and "lifecycle/deploy/alerts.yml" in pristine
    yield texts.REQUEST, (json.dumps(request, ensure_ascii=False, indent=2) + "\n").encode() if is_wide else None
    base, local = generated.config(plan, pristine["config/base.yaml"].decode())
    yield "config/base.yaml", base.encode()
    yield "config/local.yaml", local.encode() if local else None
    yield from _pages(root, plan, file, request, pristine)


def _pages(
    root: Path, plan: Plan, file: str, request: dict[str, Any], pristine: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """Yield the pages that describe the sample, rewritten; text that a user wrote into them is kept."""
    edited = Changes(root, dict.fromkeys(PAGES), pristine).edited()
    for name in PAGES:
        path = root / name
        if not path.exists() or name not in pristine:
            continue
        ours = pristine[name].decode()
        current = ours if name not in edited else path.read_text(encoding="utf-8")
        if name == "README.md":
            yield name, prose.readme(current, ours, plan, file, _command(plan, root, file), request).encode()
        else:
            yield name, prose.agreement(current, plan).encode()


def formatted(root: Path, name: str, text: str, rules: Sequence[str] = ("--select", NAME_RULES)) -> bytes:
    """Format a text with the repository's ruff; those of the `rules` that it breaks are excluded in a comment."""
    ruff = str(root / ".venv" / "bin" / "ruff")

    def run(*arguments: str, text: str) -> "subprocess.CompletedProcess[str]":
        command = [ruff, *arguments, "--stdin-filename", name, "-"]
        try:
            return subprocess.run(command, cwd=root, input=text, capture_output=True, text=True, encoding="utf-8")
        except FileNotFoundError:
            raise LifecycleError(f"{ruff} is missing", "Run `make setup` first.") from None

    done = run("check", "--quiet", "--fix", "--select", "I,RUF022", text=text)
    done = run("format", "--quiet", text=done.stdout or text)
    if done.returncode:
        raise LifecycleError(f"{name} cannot be formatted: {done.stderr.strip()}", "Please report this.")
    found = run("check", "--quiet", "--output-format", "json", *rules, text=done.stdout)
    codes = sorted({each["code"] for each in json.loads(found.stdout or "[]") if each["code"]})
    return ((f"# ruff: noqa: {', '.join(codes)}\n" if codes else "") + done.stdout).encode()


def derived(text: str) -> Contract:
    """Return the contract that the text of a contract.py declares."""
    module = ModuleType("contract")
    exec(compile(text, f"{MODEL}/contract.py", "exec"), module.__dict__)
    return derive(module.ROW, module.TARGET, module.VERSION)


def _file_name(plan: Plan, folder: Path) -> str:
    """Return the name of the table below the data folder."""
    source = plan.table.source
    given = Path(os.path.normpath(Path(source.given).expanduser().absolute()))
    for path in (given, source.path):
        if path.is_relative_to(folder.absolute()):
            return path.relative_to(folder.absolute()).as_posix()
    return given.name


def _command(plan: Plan, root: Path, file: str) -> str:
    """Return the command that repeats this; a data folder outside the repository is not written down."""
    folder = settings.load(root).settings.data
    return generated.command(plan, (folder / file).as_posix() if not folder.is_absolute() else file)


def _not_ignored(root: Path, path: Path) -> str | None:
    """Return a warning about a table that the next `git add` would commit."""
    if not path.is_relative_to(root.resolve()) or succeeds("check-ignore", "--quiet", str(path), folder=root):
        return None
    return f"git would commit {path.relative_to(root.resolve())}: move it to data/, which is ignored"

"""One repository of a fleet: its state, the trial of an update, or the update on a branch."""

import io
import json
import os
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import yaml

from looseleaf.errors import TAIL, StepFailed, UpdateError
from looseleaf.fleet.repositories import clone_of, destination, digest, locked, opened, read
from looseleaf.hosts import PUSHES, Host
from looseleaf.propose import UPDATE, propose
from looseleaf.send import DETAILS, FOLDER, PATCH, send
from looseleaf.snapshot import contains, git, succeeds
from looseleaf.update.offers import MANIFEST, ZONE
from looseleaf.update.source import ANSWERS_FILE, VARIABLE, Source, choices_in, located, recorded
from looseleaf.update.trees import cloned, is_same, render, tracked
from looseleaf.update.trial import Trial

ENVIRONMENTS = ("production", "staging", "local")


@dataclass
class Row:
    """What is known of a repository; docs/fleet.md lists the values of `result`."""

    name: str
    address: str
    result: str = "error"
    notes: list[str] = field(default_factory=list)
    version: str = ""
    age_days: int | None = None
    edited: list[str] | None = None
    review_by: str = ""
    deployed: dict[str, str] = field(default_factory=dict)
    monitoring: dict[str, str] = field(default_factory=dict)
    uncommitted: int = 0
    to: str = ""
    reused: bool = False
    cpu_seconds: float = 0.0


def fill(row: Row, address: str, options: Namespace) -> None:
    """Fill the row of a repository; what is wrong with it is a note in its row."""
    try:
        # A process of a killed run may still be running: wait, and use its result.
        with locked(options.state / "locks" / digest(address)), TemporaryDirectory(dir=options.state) as work:
            _fill(row, address, Path(work), options)
    except Exception as error:
        known = f"{error.problem}. {error.hint}" if isinstance(error, StepFailed) else getattr(error, "stderr", None)
        row.notes = [" ".join((known or repr(error)).split())]
    row.cpu_seconds = round(sum(os.times()[:4]), 2)


def _fill(row: Row, address: str, work: Path, options: Namespace) -> None:
    """Fill a row fact by fact, and set its result at the end; it stays `error` after an exception."""
    folder = opened(address, options.state)
    row.uncommitted = len(git("status", "--porcelain", "--", ".", folder=folder).splitlines())
    row.review_by = _value(folder / "OWNERS", "x-ownership", "review_by")
    for name in ENVIRONMENTS:
        settings = [_value(folder / f"config/{each}.yaml", "storage") for each in (name, "base")]
        storage = folder / (settings[0] or settings[1] or "storage")
        row.deployed[name] = _value(storage / f"deployments/{name}.json", "live", "version")
        row.monitoring[name] = _value(storage / f"reports/{name}/monitoring.json", "verdict")
    if not succeeds("cat-file", "-e", "HEAD:./lifecycle", folder=folder):
        raise UpdateError("it has no lifecycle/, so it is not a repository of this template", "Correct the list.")
    content = recorded(folder)
    # Without LOOSELEAF_SOURCE, it would be the repository that this command was installed from, also for the update.
    os.environ.setdefault(VARIABLE, str(content["_src_path"]))
    template, new = located(content, folder)
    source = Source(clone_of(template, options.state), str(content["_src_path"]), new)
    before = after = source.commit(str(content["_commit"]))
    row.version, released = source.label(before), git("show", "-s", "--format=%ct", before, folder=source.clone)
    row.age_days = int(time.time() - int(released)) // 86400
    if options.action != "status":
        after = source.commit(options.to) if options.to else source.newest(before)
        row.to = source.label(after)
    _refuse_moved_tags(source, {before, after})
    if not contains(after, before, source.clone):
        raise UpdateError(f"{row.to} does not come after {row.version}: an update never goes back", "Correct --to.")

    def stored(*more: str) -> Path:
        known = metadata.version("looseleaf"), address, git("rev-parse", "HEAD", folder=folder)
        return Path(options.state, "results", digest(*known, before, after, source.address, *more))

    # Where a token may push, no code of a repository or template runs: only what is prepared is sent.
    push = options.push if options.action == "update" else None
    found = _once(row, stored(), bool(push), lambda: _tried(folder, source, before, after, work))
    notes = [f"uncommitted changes ({row.uncommitted}): commit or stash them"] if row.uncommitted else []
    if options.action == "status" or notes:
        found |= {"result": "read" if options.action == "status" else "refused", "notes": notes + found["notes"]}
    elif options.action == "update" and found["result"] == "applies":
        clone = cloned(folder, work / "updated")
        proposal = _once(row, stored("update"), bool(push), lambda: _prepared(clone, after))
        if push or folder == Path(address):
            origin, host = destination(folder, str(content.get("ci", "github")), push)
            if push:
                _refuse_unpushed(folder, origin, host.base)
            found |= _sent(clone, proposal, origin, host)
        else:
            found |= {"result": "prepared", "notes": ["the same command with --push sends it"]}
    vars(row).update(found)


def edited(head: Mapping[str, bytes], old: Mapping[str, bytes]) -> list[str]:
    """Return the template's files that were edited, removed or added, of the committed and the rendered files."""
    files = json.loads(old.get(MANIFEST, b"{}")).get("files", {})
    both = head.keys() & old.keys()
    names = {name for name in head.keys() | old.keys() if name.startswith(ZONE)} | (both & files.keys())
    return sorted(names - {name for name in both if is_same(head[name], old[name])} - {ANSWERS_FILE, MANIFEST})


def _value(path: Path, *keys: str) -> str:
    """Return a value of a file in YAML or JSON; empty where the file has none or is not valid."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        return str(value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return ""


def _tried(folder: Path, source: Source, before: str, after: str, work: Path) -> dict[str, Any]:
    """Return the edited files of the template, and what an update that changes something would do."""
    if after == before and source.address == source.recorded:
        clone = cloned(folder, work / "project")
        old = render(source, before, choices_in(recorded(clone)), work / "old")
        return {"result": "up to date", "notes": [], "edited": edited(tracked(clone), old)}
    trial = Trial.run(folder, source, before, after, {}, work)
    report = trial.report()
    notes = [f"{edit.path} ({edit.kind}): {edit.hint}" for edit in report.edits]
    notes += [f"{loss.path}: {loss.why}" for loss in report.losses]
    notes += [f"{path}: a conflict" for path in report.conflicts]
    notes += [f"{choice}" for choice in report.choices if choice.kind in ("reset", "dropped")]
    result = "refused" if not report.safe else "up to date" if report.up_to_date else "applies"
    return {"result": result, "notes": notes, "edited": edited(trial.head, trial.old)}


def _refuse_moved_tags(source: Source, commits: set[str]) -> None:
    """Raise UpdateError when the tag of a recorded release has another commit: what was rendered is uncertain."""
    for version, commit in source.releases.items():
        tag = f"refs/tags/v{version}^{{commit}}"
        exists = commit in commits and succeeds("rev-parse", "--quiet", "--verify", tag, folder=source.clone)
        if exists and (at := git("rev-parse", tag, folder=source.clone)) != commit:
            problem = f"the tag v{version} of the template is at {at[:7]}, and its record has {commit[:7]}"
            raise UpdateError(problem, "A published tag is never moved: correct it in the template.")


def _refuse_unpushed(folder: Path, origin: str, base: str) -> None:
    """Raise UpdateError when the branch and that of `origin` differ: its commits would be pushed with the update."""
    head, tip = git("rev-parse", "HEAD", folder=folder), read(origin, f"refs/heads/{base}").split("\t")[0]
    if head != tip:
        problem = f"{base} is at {head[:7]} here and at {tip[:7] or 'no commit'} in origin"
        raise UpdateError(problem, "Pull and push it, and prepare the update again.")


def _prepared(clone: Path, to: str) -> dict[str, str]:
    """Update a clone as `looseleaf propose` does, after its own checks; return the files of the proposal by name."""
    with TemporaryFile("w+", encoding="utf-8") as log, redirect_stdout(io.StringIO()):
        # Messages, which say more than the report, are written there. This process ends with the repository.
        os.dup2(log.fileno(), 2)
        try:
            if propose(clone, [*UPDATE, "--to", to]):
                raise StepFailed("a person must decide about the update", "Run make update DRY_RUN=1 there.")
        except StepFailed as failed:
            log.seek(0)
            raise UpdateError("\n".join([*log.read().splitlines()[-TAIL:], failed.problem]), failed.hint) from None
    # A patch may have bytes of any encoding.
    return {name: (clone / FOLDER / name).read_bytes().decode("utf-8", "surrogateescape") for name in (PATCH, DETAILS)}


def _sent(clone: Path, proposal: Mapping[str, str], origin: str, host: Host) -> dict[str, Any]:
    """Push and offer the branch of a prepared update as `looseleaf.send` does, and return the result."""
    git("remote", "set-url", "origin", origin, folder=clone)
    (clone / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, text in proposal.items():
        (clone / FOLDER / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with redirect_stdout(io.StringIO()) as output:
        code = send(clone, host)
    return {
        "result": "refused" if code else "updated",
        "notes": [line for line in output.getvalue().splitlines() if line],
    }


def _once(row: Row, file: Path, must_exist: bool, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result that a file has; without one, work and store the result, unless it must exist."""
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        row.reused = True
        return found
    if must_exist:
        raise UpdateError("no update is prepared", f"Run the command first without --push and without {PUSHES}.")
    row.reused, found = False, work()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".draft").write_text(json.dumps(found), encoding="utf-8")
    file.with_suffix(".draft").replace(file)
    return found

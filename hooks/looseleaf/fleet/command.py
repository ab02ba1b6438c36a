"""`looseleaf fleet`: report, plan or update many repositories, several at a time."""

import html
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import cast

import platformdirs
from tabulate import tabulate
from tqdm import tqdm

from looseleaf.errors import NEEDS_A_PERSON, UpdateError
from looseleaf.fleet.examine import Row, fill
from looseleaf.fleet.repositories import NO_TOKEN, listed, remove_older_clones
from looseleaf.hosts import PUSHES

FORMATS = {"text": "plain", "markdown": "github", "html": "html"}
HEADERS = ("repository", "version", "age (days)", "edited", "review by", "deployed", "monitoring", "result")
UNKNOWN = "\N{EN DASH}"
NOT_CHECKED = "Not checked: uv.lock, and make check and make test of each repository with the update."


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `fleet`."""
    parser.add_argument("action", choices=("status", "plan", "update"), help="report, try an update, or make it")
    parser.add_argument("repositories", nargs="*", metavar="REPO", help="a folder, a URL, or NAME=REPO")
    parser.add_argument("--file", type=Path, metavar="FILE", help="a list with one repository in each line")
    parser.add_argument("--to", metavar="VERSION", help="plan, update: default: the newest release")
    parser.add_argument("--push", metavar="HOST", help="update: push the updates that this command prepared to HOST")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="repositories at a time")
    state = platformdirs.user_cache_path("looseleaf") / "fleet"
    parser.add_argument("--state", type=Path, default=state, metavar="DIR", help="folder of stored results")
    parser.add_argument("--format", choices=(*FORMATS, "json"), default="text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table to a file")


def run(options: Namespace) -> int:
    """Run an action; returns 0, 1 if a repository has an error, or 3 if a person must decide about one."""
    options.state = options.state.resolve()
    try:
        if os.environ.get(PUSHES) and not options.push:
            problem = f"{PUSHES} is set, and code of the template or tests of a repository could read it"
            raise UpdateError(problem, "Set it for the command with --push only.")
        rows = examined(listed(options.repositories, options.file), options)
        remove_older_clones(options.state)
        text = formatted(rows, options.action, options.format)
        print(text)
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(f"{text}\n", encoding="utf-8")
    except (UpdateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command continues with the results so far", file=sys.stderr)
        return 130
    results = {row.result for row in rows}
    return 1 if "error" in results else NEEDS_A_PERSON if "refused" in results else 0


def examined(repositories: Mapping[str, str], options: Namespace) -> list[Row]:
    """Return the rows of all repositories in their order. Each has a process, so that none can stop the others."""
    rows = [Row(name, NO_TOKEN.hide(address)) for name, address in repositories.items()]
    waiting = list(zip(rows, repositories.values(), strict=True))
    running: dict[Connection, Row] = {}
    # A forked process has the imported modules; the thread of the bar would be forked, too.
    context, tqdm.monitor_interval = get_context("fork"), 0
    with tqdm(total=len(rows), disable=None, unit=" repositories") as bar:
        while waiting or running:
            while waiting and len(running) < max(1, options.jobs):
                row, address = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                context.Process(target=_send, args=(sender, row, address, options)).start()
                sender.close()
                running[receiver] = row
            for ready in cast(list[Connection], wait(list(running))):
                row = running.pop(ready)
                try:
                    vars(row).update(ready.recv())
                except EOFError:
                    row.notes = ["its process was killed"]
                bar.update()
    return rows


def _send(sender: Connection, row: Row, address: str, options: Namespace) -> None:
    # After Ctrl-C and after a kill, no process waits for the row.
    with suppress(BrokenPipeError, KeyboardInterrupt):
        fill(row, address, options)
        sender.send(vars(row))


def formatted(rows: Sequence[Row], action: str, name: str) -> str:
    """Return the table as `text`, `markdown`, `json` or `html`, with the reasons of refusals and errors."""
    counts = ", ".join(f"{count} {result}" for result, count in Counter(row.result for row in rows).items())
    reused, mean = sum(row.reused for row in rows), sum(row.cpu_seconds for row in rows) / len(rows)
    summary = f"Repositories: {len(rows)} ({counts}). Results of earlier runs: {reused}. CPU seconds each: {mean:.1f}."
    summary += f" {NOT_CHECKED}" if action == "plan" else ""
    if name == "json":
        facts = {"action": action, "summary": summary, "repositories": [vars(row) for row in rows]}
        return json.dumps(facts, indent=2, ensure_ascii=False)
    parts = [f"<!doctype html>\n<meta charset=utf-8>\n<title>Fleet: {action}</title>"] if name == "html" else []
    notes = [(row.name, note) for row in rows for note in row.notes]
    for headers, lines in ((HEADERS, map(_cells, rows)), (("repository", "note"), notes)):
        cells = [[UNKNOWN if cell in (None, "") else str(cell) for cell in line] for line in lines]
        if name == "markdown":
            cells = [[cell.replace("|", "\\|") for cell in line] for line in cells]
        parts += [tabulate(cells, headers, FORMATS[name], disable_numparse=True)] if cells else []
    return "\n\n".join([*parts, f"<p>{html.escape(summary)}</p>" if name == "html" else summary])


def _cells(row: Row) -> tuple[object, ...]:
    edits = None if row.edited is None else len(row.edited)
    deployed, verdicts = (
        ", ".join(f"{text} ({name})" for name, text in each.items() if text) for each in (row.deployed, row.monitoring)
    )
    return row.name, row.version, row.age_days, edits, row.review_by, deployed, verdicts, row.result

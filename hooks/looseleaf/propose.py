"""`looseleaf propose`: try an update in a scheduled CI run, and prepare the pull or merge request for it.

It runs the tests of the repository, so this job must hold no token that may push: `looseleaf.send` pushes in another
job what is prepared here. The checkout is unchanged afterwards.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from looseleaf.errors import NEEDS_A_PERSON, StepFailed
from looseleaf.hosts import PUSHES
from looseleaf.send import DETAILS, FOLDER, PATCH, reported, show
from looseleaf.snapshot import git

UPDATE = (sys.executable, "-m", "looseleaf.cli", "update")


def run(command: Sequence[str] = UPDATE) -> int:
    """Prepare in the current folder; returns 0 when done or not needed, 3 when a person must decide, else 1."""
    if not os.environ.get("CI"):
        print("This is not a run of a CI host. On your own machine, use `make update`.", file=sys.stderr)
        return 1
    try:
        return reported(lambda: propose(Path.cwd(), command))
    except KeyboardInterrupt:
        print("Stopped. The checkout is unchanged.", file=sys.stderr)
        return 130


def propose(root: Path, command: Sequence[str]) -> int:
    """Run the update; write its patch (empty if there is nothing to do), title and report to build/proposal."""
    folder = root / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    if os.environ.get(PUSHES):
        problem = f"This job has {PUSHES}, and the tests that an update runs could read it"
        raise StepFailed(problem, "lifecycle/docs/updates.md describes how only the job that pushes gets it.")
    try:
        changed = git("status", "--porcelain", folder=root)
    except subprocess.CalledProcessError as error:
        raise StepFailed(f"{root} is not a git repository", "Run it in the root of the repository.") from error
    if changed:
        raise StepFailed(f"The work tree is not clean:\n{changed}\nNothing was done", "Commit or stash it.")
    try:
        safe, report = _update(root, command)
        if not safe:
            return show(report["rendered"])
        git("add", "--all", folder=root)
        same = git("write-tree", folder=root) == git("rev-parse", "HEAD^{tree}", folder=root)
        title = f"The template is up to date ({report['to']})" if same else f"Update the template to {report['to']}"
        folder.mkdir(parents=True)
        # Repositories of older releases may not ignore build/.
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        # The settings of a user can change what git diff writes.
        plain = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/")
        git("diff", "--cached", "--binary", *plain, f"--output={folder / PATCH}", "HEAD", folder=root)
        details = {"title": title, "commit": git("rev-parse", "HEAD", folder=root), "body": report["rendered"]}
        (folder / DETAILS).write_text(json.dumps(details, indent=2) + "\n", encoding="utf-8")
        print(f"{title}.")
    finally:
        # The work tree was clean before, so nothing of the user is lost.
        git("add", "--all", folder=root)
        git("reset", "--quiet", "--hard", folder=root)
    return 0


def _update(root: Path, command: Sequence[str]) -> tuple[bool, dict[str, Any]]:
    """Run `looseleaf update`; return whether the update is safe and its report. Raises StepFailed for an error."""
    with tempfile.TemporaryDirectory(prefix="propose-") as scratch:
        file = Path(scratch) / "report.json"
        command = [*command, "--format", "json", "--output", str(file)]
        process = subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            code = process.wait()
        except BaseException:
            # It stops its own processes and removes its folders.
            process.terminate()
            process.wait()
            raise
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            facts: dict[str, Any] = {name: report[name] for name in ("to", "rendered")}
        except (OSError, ValueError, KeyError, TypeError):
            facts = {}
    if facts and code in (0, NEEDS_A_PERSON):
        return code == 0, facts
    if facts:
        show(facts["rendered"])
    problem = f"looseleaf update ended with {code}{'' if facts else ' and without a report'}"
    raise StepFailed(problem, "Its messages above give the reason.")

"""Check that the template's zone is as the template left it. Standard library only, so it runs without `make setup`.

`make check`, `lifecycle check` and the published commit hooks run this file; it needs no access to the template.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ANSWERS_FILE = ".copier-answers.yml"
MANIFEST = "lifecycle/manifest.json"
MARKER = "^(<<<<<<< before updating|>>>>>>> after updating)"
# `make update` keeps its backup under this name in the git folder until the update is complete.
JOURNAL = "looseleaf-update"
CHECKSUM = re.compile(r"^# sha256 of the answers: ([0-9a-f]{64})$", re.MULTILINE)
# The template's address may be corrected by hand, because a template can move to another host.
SOURCE = re.compile(r"^_src_path:.*\n(?: .*\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """A problem at a place (`path` or `path:line`), with a hint that says how to fix it."""

    place: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}\n  {self.hint}"


def interrupted(root: Path) -> list[Finding]:
    """Report an update that was interrupted. All other findings would only describe the half-written files."""
    journal = _git(root, "rev-parse", "--git-path", JOURNAL)
    if not journal or not (root / journal[0]).exists():
        return []
    return [Finding("lifecycle", "an update was interrupted here", "make update ABORT=1 restores every file.")]


def markers(root: Path) -> list[Finding]:
    """Report unresolved conflicts of an update: conflict markers and `.rej` files."""
    hint = "Resolve it and remove the markers, or undo the update: git restore --source=HEAD --staged --worktree ."
    hits = _git(root, "grep", "-n", "-I", "-E", "--untracked", MARKER)
    conflicts = [Finding(":".join(hit.split(":")[:2]), "unresolved conflict of an update", hint) for hit in hits]
    rejected = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "*.rej")
    return conflicts + [
        Finding(name, "an update could not apply this part of an edit", f"Apply it by hand and remove {name}.")
        for name in rejected
    ]


def answers_file(root: Path) -> list[Finding]:
    """Report an answers file that was edited by hand."""
    path = root / ANSWERS_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if not edited_by_hand(text):
        return []
    hint = f"Restore it: git checkout HEAD -- {ANSWERS_FILE}; change a choice with make update SET='ci=gitlab'."
    return [Finding(ANSWERS_FILE, "it was edited by hand, and the next update would use the edited choices", hint)]


def edited_by_hand(text: str) -> bool:
    """Return whether an answers file differs from its checksum. Files of older releases have none and are accepted."""
    recorded = CHECKSUM.search(text)
    return bool(recorded and recorded[1] != checksum(text))


def checksum(text: str) -> str:
    """Return the SHA-256 of an answers file, without comments and without the address of the template."""
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return hashlib.sha256(SOURCE.sub("", body).encode()).hexdigest()


def edits(root: Path) -> list[Finding]:
    """Report edited and deleted files of the template's zone, and files that do not belong there.

    A file that is missing in the last commit, too, is not reported, because another choice may have removed it.
    """
    path, deleted = root / MANIFEST, _deleted(root)
    if not path.exists() and MANIFEST not in deleted:
        return []
    if {MANIFEST, ANSWERS_FILE} & {*deleted}:
        hint = f"Restore both: git checkout HEAD -- {MANIFEST} {ANSWERS_FILE}; make eject leaves the template."
        problem = "it is deleted, and without it neither a check nor an update works"
        return [Finding(name, problem, hint) for name in deleted if name in (MANIFEST, ANSWERS_FILE)]
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return [Finding(MANIFEST, "it is not valid JSON", f"Restore it: git checkout HEAD -- {MANIFEST}")]
    findings = [
        Finding(
            name,
            "this file belongs to the template and was deleted; an update would stop here",
            f"{alternative(manifest['seams'], name)} Then restore the file: git checkout HEAD -- {name}",
        )
        for name in deleted
        if name in manifest["files"]
    ]
    for name, digest in manifest["files"].items():
        file = root / name
        if file.is_file() and hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest() != digest:
            is_committed = not _git(root, "diff", "--name-only", "HEAD", "--", name)
            restore = f"git log -- {name} shows the edit." if is_committed else f"git checkout HEAD -- {name}"
            hint = f"{alternative(manifest['seams'], name)} Then restore the file: {restore}"
            problem = "this file belongs to the template and was edited; an update would stop here"
            findings.append(Finding(name, problem, hint))
    for name in _git(root, "ls-files", "lifecycle"):
        if name not in manifest["files"] and name != MANIFEST and (root / name).exists():
            problem = "this file is in the template's folder and is not part of the template"
            findings.append(Finding(name, problem, alternative(manifest["seams"], name)))
    return findings


def _deleted(root: Path) -> list[str]:
    """Return the deleted files of the template since the last commit, unless an update or the team removes them all.

    An update changes the answers file; a team that leaves the template removes it together with the manifest.
    """
    if not (root / MANIFEST).exists() and not (root / ANSWERS_FILE).exists():
        return []
    changed = _git(root, "diff", "--name-status", "--no-renames", "--relative", "HEAD", "--", "lifecycle", ANSWERS_FILE)
    if f"M\t{ANSWERS_FILE}" in changed:
        return []
    return [line[2:] for line in changed if line.startswith("D\t")]


def alternative(seams: dict[str, str], name: str) -> str:
    """Return what to use instead of an edit of a file: the text of the first pattern that matches its path."""
    return next(text for pattern, text in seams.items() if fnmatch(name, pattern))


CHECKS: dict[str, Callable[[Path], list[Finding]]] = {"markers": markers, "answers": answers_file, "edits": edits}


def check(root: Path, names: list[str] | None = None) -> list[Finding]:
    """Return the findings of the named checks; without names, of all of them."""
    return interrupted(root) or [finding for name in names or CHECKS for finding in CHECKS[name](root)]


def _git(root: Path, *arguments: str) -> list[str]:
    try:
        completed = subprocess.run(
            # With git's default setting, names that are not ASCII are quoted.
            ["git", "-C", root, "-c", "core.quotePath=false", *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError:
        return []
    return completed.stdout.splitlines()


def main(names: list[str]) -> int:
    """Print the findings about the current folder and return 1 when there are any."""
    findings = check(Path.cwd(), names)
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    # pre-commit appends the committed files to the arguments; every check covers the whole repository instead.
    sys.exit(main(sys.argv[1:2]))

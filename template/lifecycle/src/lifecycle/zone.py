"""The template's zone as the template left it: no update half done, no answer and no file changed by hand.

It imports the standard library alone, so that the template's commit hooks can run this file by itself.
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

ANSWERS = ".copier-answers.yml"
MANIFEST = "lifecycle/manifest.json"
MARKER = "^(<<<<<<< before updating|>>>>>>> after updating)"
# Below the git folder, until an update is done: the files as they were before it.
JOURNAL = "looseleaf-update"
CHECKSUM = re.compile(r"^# sha256 of the answers: ([0-9a-f]{64})$", re.MULTILINE)
# Where the template is may be corrected by hand: a template moves.
SOURCE = re.compile(r"^_src_path:.*\n(?: .*\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """What is wrong at a place (`path`, or `path:line`), and how to fix it."""

    place: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}\n  {self.hint}"


def interrupted(root: Path) -> list[Finding]:
    """An update of which only a part has arrived: whatever else could be found is that part."""
    journal = _git(root, "rev-parse", "--git-path", JOURNAL)
    if not journal or not (root / journal[0]).exists():
        return []
    return [Finding("lifecycle", "an update was interrupted here", "make update ABORT=1 restores every file.")]


def markers(root: Path) -> list[Finding]:
    """What an update left unresolved: conflict markers, and `.rej` files; nothing outside a git repository."""
    hint = "Settle it and remove the markers, or go back: git restore --source=HEAD --staged --worktree ."
    hits = _git(root, "grep", "-n", "-I", "-E", "--untracked", MARKER)
    found = [Finding(":".join(hit.split(":")[:2]), "an update's conflict is not settled", hint) for hit in hits]
    rejected = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", "*.rej")
    return found + [
        Finding(name, "an update could not apply this part of an edit", f"Apply it by hand and remove {name}.")
        for name in rejected
    ]


def answers(root: Path) -> list[Finding]:
    """The answers file, where it is not as Copier wrote it."""
    path = root / ANSWERS
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if not edited_by_hand(text):
        return []
    hint = f"Put it back: git checkout HEAD -- {ANSWERS}; an answer changes by make update SET='ci=gitlab'."
    return [Finding(ANSWERS, "it was edited by hand, and the next update would take it for the truth", hint)]


def edited_by_hand(text: str) -> bool:
    """Whether an answers file is not the one that its checksum was taken of; an older one has none, and is believed."""
    told = CHECKSUM.search(text)
    return bool(told and told[1] != checksum(text))


def checksum(text: str) -> str:
    """The SHA-256 of an answers file, without its comments and the place of the template."""
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return hashlib.sha256(SOURCE.sub("", body).encode()).hexdigest()


def edits(root: Path) -> list[Finding]:
    """Files of the template's zone that were edited, and files that do not belong there, with what to use instead.

    A file that is missing is no finding: it may belong to another answer.
    """
    path = root / MANIFEST
    if not path.exists():
        return []
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return [Finding(MANIFEST, "it cannot be read", f"Put it back: git checkout HEAD -- {MANIFEST}")]
    found = []
    for name, digest in manifest["files"].items():
        file = root / name
        if file.is_file() and hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest() != digest:
            hint = f"{seam(manifest['seams'], name)} Then put it back: git log -- {name} shows the edit."
            found.append(Finding(name, "it is the template's and was edited: an update would stop here", hint))
    for name in _git(root, "ls-files", "lifecycle"):
        if name not in manifest["files"] and name != MANIFEST and (root / name).exists():
            found.append(Finding(name, "it is not the template's", seam(manifest["seams"], name)))
    return found


def seam(seams: dict[str, str], name: str) -> str:
    """What to use instead of an edit of a file: the text of the first pattern that fits its path."""
    return next(text for pattern, text in seams.items() if fnmatch(name, pattern))


CHECKS: dict[str, Callable[[Path], list[Finding]]] = {"markers": markers, "answers": answers, "edits": edits}


def check(root: Path) -> list[Finding]:
    """All findings about a repository."""
    return interrupted(root) or [finding for find in CHECKS.values() for finding in find(root)]


def _git(root: Path, *words: str) -> list[str]:
    try:
        done = subprocess.run(
            # Without the setting, a name that is not ASCII comes quoted.
            ["git", "-C", root, "-c", "core.quotePath=false", *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError:
        return []
    return done.stdout.splitlines()


def main(names: list[str]) -> int:
    """Print the findings of the checks named; 1 where there are any."""
    found = interrupted(Path.cwd()) or [finding for name in names for finding in CHECKS[name](Path.cwd())]
    for finding in found:
        print(finding, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    # A commit hook hands on the files of the commit; what is looked at is the repository.
    sys.exit(main(sys.argv[1:2]))

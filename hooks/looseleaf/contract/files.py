"""What is written, what it replaces, and what must not be lost: a file that somebody has edited."""

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle.errors import LifecycleError, Refused
from lifecycle.storage import explain_disk_errors, write_atomically

REPORT = "docs/contract-report.md"
WRITTEN = re.compile(r"^\| `([^`]+)` \| ([0-9a-f]{64}) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Changes:
    """New contents by path (None: the file goes), below the root of the repository.

    `merged` are files whose new content keeps what somebody has written into them.
    """

    root: Path
    contents: Mapping[str, bytes | None]
    pristine: Mapping[str, bytes]
    merged: frozenset[str] = frozenset()

    def edited(self) -> list[str]:
        """Files that differ from what the template and `make contract` wrote, and would be replaced or removed."""
        report = self.root / REPORT
        ours = dict(WRITTEN.findall(report.read_text(encoding="utf-8"))) if report.exists() else {}
        found = []
        for name, content in self.contents.items():
            there = self._read(name)
            if there is None or name == REPORT or name in self.merged:
                continue
            if there not in (content, self.pristine.get(name)) and digest(there) != ours.get(name):
                found.append(name)
        return found

    def refuse_edited(self, force: bool) -> None:
        """Raise Refused where an edited file would be replaced, unless that is wanted."""
        if not force and (edited := self.edited()):
            told = "\n  ".join(edited)
            hint = (
                "FORCE=1 (--force) replaces them and keeps a copy of each; DIFF=1 (--diff) only shows the difference."
            )
            raise Refused(f"these files were edited, and would be replaced:\n  {told}", hint)

    def apply(self) -> dict[str, str]:
        """Write all or nothing; returns the name of the backup of each edited file that was replaced."""
        before = {name: self._read(name) for name in self.contents}
        with explain_disk_errors(self.root):
            backups = {name: backup(self.root / name) for name in self.edited()}
            try:
                for name, content in self.contents.items():
                    self._put(name, content)
            except BaseException:
                for name, content in before.items():
                    self._put(name, content)
                raise
        return backups

    def _read(self, name: str) -> bytes | None:
        path = self.root / name
        return path.read_bytes() if path.exists() else None

    def _put(self, name: str, content: bytes | None) -> None:
        path = self.root / name
        if content is None:
            path.unlink(missing_ok=True)
        elif content != self._read(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)


def digest(content: bytes) -> str:
    """What tells a file that was written here from one that was edited since."""
    return hashlib.sha256(content).hexdigest()


def backup(path: Path) -> str:
    """Keep a copy of a file beside it, under a name that is free; returns that name."""
    number = 1
    while (copy := path.with_name(f"{path.name}.bak{number}")).exists():
        number += 1
    shutil.copy2(path, copy)
    return copy.name


def link(source: Path, folder: Path, name: str) -> None:
    """Let `folder / name` be the file, without a copy of it; raises LifecycleError where another file stands there."""
    place = folder / name
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            if place.samefile(source):
                return
            raise LifecycleError(f"{place} is another file of that name", f"Remove it, or give it: DATA={place}.")
        try:
            place.symlink_to(source)
        except OSError:
            # Not every system lets everyone link; there, a copy is the only way.
            shutil.copy2(source, place)

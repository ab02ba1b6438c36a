"""Write the generated files without losing a file that a user has edited."""

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
    """New file contents by path below the repository's root; None removes the file.

    `merged` names files whose new content keeps the user's own text.
    """

    root: Path
    contents: Mapping[str, bytes | None]
    pristine: Mapping[str, bytes]
    merged: frozenset[str] = frozenset()

    def edited(self) -> list[str]:
        """Return the files that would be replaced and that neither the template nor `make contract` wrote."""
        report = self.root / REPORT
        recorded = dict(WRITTEN.findall(report.read_text(encoding="utf-8"))) if report.exists() else {}
        names = []
        for name, content in self.contents.items():
            current = self._read(name)
            if current is None or name == REPORT or name in self.merged:
                continue
            if current not in (content, self.pristine.get(name)) and digest(current) != recorded.get(name):
                names.append(name)
        return names

    def refuse_edited(self, force: bool) -> None:
        """Raise Refused if an edited file would be replaced, unless `force` is set."""
        if not force and (edited := self.edited()):
            listed = "\n  ".join(edited)
            hint = "FORCE=1 (--force) replaces them and keeps a copy of each; DIFF=1 (--diff) only shows the changes."
            raise Refused(f"these files were edited and would be replaced:\n  {listed}", hint)

    def apply(self) -> dict[str, str]:
        """Write all files or none; returns the backup name of each edited file that was replaced."""
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
    """Return the SHA-256 that distinguishes a generated file from an edited one."""
    return hashlib.sha256(content).hexdigest()


def backup(path: Path) -> str:
    """Copy a file to a free sibling name and return that name."""
    number = 1
    while (copy := path.with_name(f"{path.name}.bak{number}")).exists():
        number += 1
    shutil.copy2(path, copy)
    return copy.name


def link(source: Path, folder: Path, name: str) -> None:
    """Create a symbolic link `folder / name` to a file; raises LifecycleError if another file has that name."""
    place = folder / name
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            if place.samefile(source):
                return
            raise LifecycleError(f"{place} is another file of that name", f"Remove it, or use it: DATA={place}.")
        try:
            place.symlink_to(source)
        except OSError:
            # Some systems do not allow links to every user; a copy is the only way there.
            shutil.copy2(source, place)

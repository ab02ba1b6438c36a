"""Put the files of a trial into the repository: all of them, or none, whatever happens in between.

What is about to change is copied into the git folder first. The copy appears under its name by one rename, when it is
complete, and goes by one rename when the work is done: as long as it stands there, `abort` can restore everything.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from looseleaf.snapshot import git
from looseleaf.update.errors import UpdateError

NAME = "looseleaf-update"
LIST = "files.json"


def journal(root: Path) -> Path:
    """Where the copy of what an update changes stands while it is applied."""
    return root / git("rev-parse", "--git-path", NAME, folder=root)


def apply(root: Path, contents: Mapping[str, bytes | None], modes: Mapping[str, int]) -> None:
    """Write files below `root` (None removes one); an exception leaves every file as it was. `finish` ends it."""
    place = journal(root)
    _copy(root, place, contents)
    try:
        for name, content in contents.items():
            _put(root / name, content, modes.get(name))
    except BaseException:
        abort(root)
        raise


def finish(root: Path) -> None:
    """The update stays: drop the copy."""
    _drop(journal(root))


def abort(root: Path) -> list[str]:
    """Restore every file as it was before the update that stands in the journal; returns their names."""
    place = journal(root)
    if not place.exists():
        raise UpdateError("no update was interrupted here", "After a finished one, git restore . goes back.")
    names: dict[str, int | None] = json.loads((place / LIST).read_text(encoding="utf-8"))
    for name, mode in names.items():
        kept = place / "before" / name
        _put(root / name, None if mode is None else kept.read_bytes(), mode)
    _drop(place)
    return list(names)


def _copy(root: Path, place: Path, contents: Mapping[str, bytes | None]) -> None:
    if place.exists():
        raise UpdateError("an update was interrupted here", "make update ABORT=1 restores every file; then try again.")
    draft = place.with_name(f"{NAME}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    modes: dict[str, int | None] = {}
    for name in contents:
        path = root / name
        if path.is_dir():
            raise UpdateError(f"{name} is a folder here, and a file of the template's", "Rename the folder.")
        modes[name] = path.stat().st_mode & 0o777 if path.exists() else None
        if path.exists():
            kept = draft / "before" / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            _write(kept, path.read_bytes())
    _write(draft / LIST, json.dumps(modes).encode())
    draft.rename(place)
    _sync(place.parent)


def _put(path: Path, content: bytes | None, mode: int | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        # git keeps no empty folder, and a fresh copy has none.
        for folder in path.parents:
            try:
                folder.rmdir()
            except OSError:
                break
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{NAME}")
    _write(draft, content)
    if mode is not None:
        draft.chmod(mode)
    draft.replace(path)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _drop(place: Path) -> None:
    done = place.with_name(f"{NAME}.done")
    shutil.rmtree(done, ignore_errors=True)
    place.rename(done)
    shutil.rmtree(done, ignore_errors=True)


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        # Not every system opens a folder.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Put the files of a trial into the repository: all of them, or none, whatever happens in between.

What is about to change is copied into the git folder first. The copy appears under its name by one rename, when it is
complete, and goes by one rename when the work is done: as long as it stands there, `abort` can restore everything. A
git repository holds one at a time, whichever of its folders the update is of.

The copy has this module with it, which imports the standard library alone: while an update is half done, nothing else
of the repository can be relied on.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from looseleaf.snapshot import git
from looseleaf.update.errors import UpdateError

NAME = "looseleaf-update"
LIST = "files.json"
# What `python -m looseleaf.update.apply` needs to restore, below the package.
TOOL = ("__init__.py", "snapshot.py", "update/__init__.py", "update/errors.py", "update/apply.py")
# New files wait here, on the disk where they will stand: each arrives by a rename.
DRAFTS = f".{NAME}"
ABORT = "make update ABORT=1 restores every file; then try again."


def journal(root: Path) -> Path:
    """Where the copy of what an update changes stands while it is applied; raises UpdateError outside of git."""
    try:
        return root / git("rev-parse", "--git-path", NAME, folder=root)
    except (OSError, subprocess.CalledProcessError):
        raise UpdateError(f"{root} is in no git repository", "Go to the folder of the repository.") from None


def apply(root: Path, contents: Mapping[str, bytes | None], modes: Mapping[str, int]) -> None:
    """Write files below `root` (None removes one); an exception leaves every file as it was. `finish` ends it.

    Raises UpdateError where it cannot be done.
    """
    place, top = journal(root), _top(root)
    if place.exists():
        raise UpdateError("an update was interrupted here", ABORT)
    paths = {name: (root.resolve() / name).relative_to(top).as_posix() for name in contents}
    try:
        _copy(top, place, list(paths.values()))
        _put(
            top,
            {paths[name]: content for name, content in contents.items()},
            {paths[name]: mode for name, mode in modes.items() if name in paths},
        )
    except BaseException as error:
        # What is raised while this restores leaves the copy where it is, for another attempt.
        if place.exists():
            abort(root)
        else:
            shutil.rmtree(_draft(place), ignore_errors=True)
        if isinstance(error, OSError):
            raise UpdateError(f"the files cannot be written: {error}", "Every file is as it was.") from None
        raise


def finish(root: Path) -> None:
    """The update stays: drop the copy."""
    _drop(journal(root))


def abort(root: Path) -> list[str]:
    """Restore every file as it was before the update that stands in the journal; returns their paths in the repository.

    What interrupts it leaves the journal: it can be repeated.
    """
    place, top = journal(root), _top(root)
    if not place.exists():
        raise UpdateError("no update was interrupted here", "After a finished one, git restore . goes back.")
    modes: dict[str, int | None] = json.loads((place / LIST).read_text(encoding="utf-8"))
    # First what takes room: then a disk that is full has some for the rest.
    shutil.rmtree(top / DRAFTS, ignore_errors=True)
    before: dict[str, bytes | None] = {}
    for name, mode in modes.items():
        content = None if mode is None else (place / "before" / name).read_bytes()
        if content is None or _state(top / name) != (content, mode):
            before[name] = content
    _put(top, before, {name: mode for name, mode in modes.items() if mode is not None})
    _drop(place)
    return list(modes)


def _top(root: Path) -> Path:
    return Path(git("rev-parse", "--show-toplevel", folder=root)).resolve()


def _draft(place: Path) -> Path:
    return place.with_name(f"{NAME}.draft")


def _copy(top: Path, place: Path, names: list[str]) -> None:
    draft = _draft(place)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    modes: dict[str, int | None] = {}
    for name in names:
        path = _own(top, name)
        if path.is_symlink():
            raise UpdateError(f"{name} is a symbolic link here, and a file of the template's", "Remove the link.")
        if path.is_dir():
            raise UpdateError(f"{name} is a folder here, and a file of the template's", "Rename the folder.")
        content, modes[name] = _state(path)
        if content is not None:
            kept = draft / "before" / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            _write(kept, content)
    _write(draft / LIST, json.dumps(modes).encode())
    package = Path(__file__).parents[1]
    for name in TOOL:
        tool = draft / "tool" / package.name / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        _write(tool, (package / name).read_bytes())
    for folder in draft.rglob("*/"):
        _sync(folder)
    _sync(draft)
    draft.rename(place)
    _sync(place.parent)


def _put(top: Path, contents: Mapping[str, bytes | None], modes: Mapping[str, int]) -> None:
    drafts = top / DRAFTS
    shutil.rmtree(drafts, ignore_errors=True)
    # All are written before the first one moves: a disk that is full is found while nothing has changed.
    arriving = {}
    for number, (name, content) in enumerate(contents.items()):
        if content is not None:
            drafts.mkdir(exist_ok=True)
            arriving[name] = drafts / str(number)
            _write(arriving[name], content)
            if name in modes:
                arriving[name].chmod(modes[name])
    # What goes makes way for what comes: a folder may take the place of a file.
    for name in contents.keys() - arriving.keys():
        _remove(_own(top, name), top)
    for name, draft in arriving.items():
        path = _own(top, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(path)
    for folder in {(top / name).parent for name in contents}:
        _sync(folder)
    shutil.rmtree(drafts, ignore_errors=True)


def _remove(path: Path, top: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
    # git keeps no empty folder, and a fresh copy has none.
    for folder in path.parents:
        try:
            if folder == top:
                break
            folder.rmdir()
        except OSError:
            break


def _own(top: Path, name: str) -> Path:
    """Where a file stands; raises UpdateError where a link would lead out of the repository."""
    path = top / name
    for folder in path.parents:
        if folder == top:
            break
        if folder.is_symlink():
            problem = f"{folder.relative_to(top)} is a symbolic link here, and a folder of the template's"
            raise UpdateError(problem, "Put the folder itself in its place.")
    return path


def _state(path: Path) -> tuple[bytes | None, int | None]:
    """Content and mode of a file; None where there is none."""
    if path.is_symlink() or not path.is_file():
        return None, None
    return path.read_bytes(), path.stat().st_mode & 0o777


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _drop(place: Path) -> None:
    done = place.with_name(f"{NAME}.done")
    shutil.rmtree(done, ignore_errors=True)
    place.rename(done)
    # It is over: who stops it now comes too late.
    with contextlib.suppress(KeyboardInterrupt):
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


def main() -> int:
    """Restore, in the folder of the repository: what `make update ABORT=1` runs from the copy."""
    try:
        print(f"restored: {', '.join(abort(Path.cwd()))}")
    except (UpdateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Put the files of an update into the repository: all of them or none, also when the process is killed.

A backup of the files to change is written to the git folder first. It gets its final name by one rename when it is
complete, and loses it by one rename when the update is complete: while it has that name, `abort` can restore every
file. A git repository has one backup at a time, whichever of its projects is updated.

The backup has a copy of this module, which needs the standard library only, because nothing else of a half-updated
repository can be relied on.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git

NAME = "looseleaf-update"
LIST = "files.json"
# The modules that `python -m looseleaf.update.apply` needs to restore, relative to the package.
TOOL = ("__init__.py", "errors.py", "snapshot.py", "update/__init__.py", "update/apply.py")
# New files wait here, on the same disk as their destination, so that a rename can move each of them.
DRAFTS = f".{NAME}"
TYPE_CACHE = ".mypy_cache"
ABORT = "make update ABORT=1 restores every file; then try again."


def journal(root: Path) -> Path:
    """Return the path of the backup of an update that is not complete; raises UpdateError outside of git."""
    try:
        return root / git("rev-parse", "--git-path", NAME, folder=root)
    except (OSError, subprocess.CalledProcessError):
        raise UpdateError(f"{root} is not in a git repository", "Go to the folder of the repository.") from None


def apply(root: Path, contents: Mapping[str, bytes | None], modes: Mapping[str, int]) -> None:
    """Write new content by path (None removes a file), all or none; `finish` or `abort` must follow.

    `modes` has permissions by path. After an exception (UpdateError: a file cannot be written) every file is as before.
    """
    place, top = journal(root), _top(root)
    if place.exists():
        raise UpdateError("an update was interrupted here", ABORT)
    paths = {name: (root.resolve() / name).relative_to(top).as_posix() for name in contents}
    try:
        _back_up(top, place, list(paths.values()))
        new = {paths[name]: content for name, content in contents.items()}
        _put(top, new, {paths[name]: mode for name, mode in modes.items() if name in paths})
    except BaseException as error:
        # When `abort` itself fails, the backup stays for another attempt.
        if place.exists():
            abort(root)
        else:
            shutil.rmtree(_draft(place), ignore_errors=True)
        if isinstance(error, OSError):
            raise UpdateError(f"the files cannot be written: {error}", "Every file is as it was.") from None
        raise


def finish(root: Path) -> None:
    """Complete the update: remove the backup, and what mypy has stored about the files before."""
    shutil.rmtree(root / TYPE_CACHE, ignore_errors=True)
    _remove_backup(journal(root))


def abort(root: Path) -> list[str]:
    """Restore every file from the backup and return their paths. After an interruption it can be repeated."""
    place, top = journal(root), _top(root)
    if not place.exists():
        raise UpdateError("no update was interrupted here", "To undo a completed one, run git restore .")
    modes: dict[str, int | None] = json.loads((place / LIST).read_text(encoding="utf-8"))
    # Drafts are removed first, because the disk may be full.
    shutil.rmtree(top / DRAFTS, ignore_errors=True)
    before: dict[str, bytes | None] = {}
    for name, mode in modes.items():
        content = None if mode is None else (place / "before" / name).read_bytes()
        if content is None or _state(top / name) != (content, mode):
            before[name] = content
    _put(top, before, {name: mode for name, mode in modes.items() if mode is not None})
    shutil.rmtree(root / TYPE_CACHE, ignore_errors=True)
    _remove_backup(place)
    return list(modes)


def _top(root: Path) -> Path:
    return Path(git("rev-parse", "--show-toplevel", folder=root)).resolve()


def _draft(place: Path) -> Path:
    return place.with_name(f"{NAME}.draft")


def _back_up(top: Path, place: Path, names: list[str]) -> None:
    draft = _draft(place)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    modes: dict[str, int | None] = {}
    for name in names:
        path = _inside(top, name)
        if path.is_symlink():
            raise UpdateError(f"{name} is a symbolic link here and a file in the template", "Remove the link.")
        if path.is_dir():
            raise UpdateError(f"{name} is a folder here and a file in the template", "Rename the folder.")
        content, modes[name] = _state(path)
        if content is not None:
            _write(draft / "before" / name, content)
    _write(draft / LIST, json.dumps(modes).encode())
    package = Path(__file__).parents[1]
    for name in TOOL:
        _write(draft / "tool" / package.name / name, (package / name).read_bytes())
    for folder in (*draft.rglob("*/"), draft):
        _sync(folder)
    draft.rename(place)
    _sync(place.parent)


def _put(top: Path, contents: Mapping[str, bytes | None], modes: Mapping[str, int]) -> None:
    drafts = top / DRAFTS
    shutil.rmtree(drafts, ignore_errors=True)
    # All drafts are written before the first is moved, so a full disk is noticed before anything changes.
    new = {}
    for number, (name, content) in enumerate(contents.items()):
        if content is not None:
            new[name] = drafts / str(number)
            _write(new[name], content)
            if name in modes:
                new[name].chmod(modes[name])
    # Files are removed first, because a folder may take the place of a file.
    for name in contents.keys() - new.keys():
        _remove(_inside(top, name), top)
    for name, draft in new.items():
        path = _inside(top, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(path)
    for folder in {(top / name).parent for name in contents}:
        _sync(folder)
    shutil.rmtree(drafts, ignore_errors=True)


def _remove(path: Path, top: Path) -> None:
    """Remove a file and the folders that become empty, as git does."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
    with contextlib.suppress(OSError):
        for folder in path.parents[: len(path.relative_to(top).parts) - 1]:
            folder.rmdir()


def _inside(top: Path, name: str) -> Path:
    """Return the path of a file; raises UpdateError when a link on the way leads out of the repository."""
    path = top / name
    for folder in path.parents[: len(Path(name).parts) - 1]:
        if folder.is_symlink():
            problem = f"{folder.relative_to(top)} is a symbolic link here and a folder in the template"
            raise UpdateError(problem, "Replace the link by the folder itself.")
    return path


def _state(path: Path) -> tuple[bytes | None, int | None]:
    """Return content and mode of a file, or None for both."""
    if path.is_symlink() or not path.is_file():
        return None, None
    return path.read_bytes(), path.stat().st_mode & 0o777


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove_backup(place: Path) -> None:
    done = place.with_name(f"{NAME}.done")
    shutil.rmtree(done, ignore_errors=True)
    place.rename(done)
    # The update is complete by now; an interruption has nothing left to stop.
    with contextlib.suppress(KeyboardInterrupt):
        shutil.rmtree(done, ignore_errors=True)


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # some systems cannot open a folder
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    """Restore the repository of the current folder: what `make update ABORT=1` runs from the backup."""
    try:
        print(f"restored: {', '.join(abort(Path.cwd()))}")
    except (UpdateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The repositories of a list, folders and URLs, with a clone of each URL and of each template."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git, succeeds
from looseleaf.update.source import Source, located

REMOTE = re.compile(r"\w[\w+]*://|[\w.-]+@[\w.-]+:")
# For one response of a host, and for a clone.
SECONDS, CLONE_SECONDS = 60, 600


def listed(given: Sequence[str], file: Path | None) -> list[tuple[str, str]]:
    """Return name and address, an absolute path or a URL, of the given entries and of those in a file.

    An entry is ADDRESS or NAME=ADDRESS. Relative paths in a file are relative to its folder.
    """
    entries = [(text, Path.cwd()) for text in given]
    if file:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        entries += [(text, file.parent) for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())]
    found = []
    for text, base in entries:
        name, address = re.findall(r"^(?:([\w.-]+)=)?(.*)", text)[0]
        if not REMOTE.match(address):
            address = str((base / os.path.expanduser(address)).resolve())
        found.append((name or re.split(r"[/:]", address.rstrip("/").removesuffix(".git"))[-1], address))
    names = [name for name, _ in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UpdateError(f"two repositories have the name {', '.join(twice)}", "Remove one, or write NAME=ADDRESS.")
    if not found:
        raise UpdateError("no repository is listed", "Name some, or a file with one in each line: --file FILE.")
    return found


def opened(address: str, state: Path) -> Path:
    """Return the folder of a repository, for a URL that of its clone."""
    folder = Path(address)
    if REMOTE.match(address):
        head = remote_git("ls-remote", address, "HEAD").partition("\t")[0]
        folder = _clone(address, state / "clones" / digest(address) / (head or "empty"))
    if not succeeds("rev-parse", "--verify", "HEAD", folder=folder):
        raise UpdateError(f"{public(address)} is not a git repository with a commit", "Correct the list.")
    return folder


def template(content: Mapping[str, Any], folder: Path, state: Path) -> Source:
    """Return the template of an answers file; all repositories use one clone of it."""
    address, new = located(content, folder)
    place = state / "templates" / digest(address) / digest(remote_git("ls-remote", address))
    with locked(place.parent.with_suffix(".lock")):
        return Source(_clone(address, place), str(content["_src_path"]), new)


def cloned(folder: Path, into: Path) -> Path:
    """Clone the repository that a folder is in; return that folder in the clone."""
    top = Path(git("rev-parse", "--show-toplevel", folder=folder))
    git("clone", "--quiet", str(top), str(into), folder=folder)
    return into / folder.resolve().relative_to(top.resolve())


def remote_git(command: str, address: str, *arguments: str, seconds: int = 0) -> str:
    """Run git without prompts and within a time limit; raises UpdateError without credentials in its message."""
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never"}
    try:
        # In a session of its own, ssh finds no terminal to prompt on.
        done = subprocess.run(
            ["git", command, "--quiet", "--", address, *arguments], env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=seconds or SECONDS, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as slow:
        problem = f"{public(address)} did not respond within {slow.timeout:.0f} s"
        raise UpdateError(problem, "Try again, or correct the address.") from None
    if done.returncode:
        problem = f"{public(address)} cannot be read: {public(' '.join(done.stderr.split()))}"
        raise UpdateError(problem, "Correct the address, or set up git's credentials for it.")
    return done.stdout.strip()


def public(text: str) -> str:
    """Return a text without the credentials in its addresses."""
    return re.sub(r"(\w://)[^/\s@]+@", r"\1", text)


def digest(*texts: str) -> str:
    """Return a short hash of texts, for the name of a file."""
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:20]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; a killed holder releases it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clone(address: str, place: Path) -> Path:
    """Return the clone of one state of an address, which names the folder; those of older states are removed."""
    if not place.exists():
        shutil.rmtree(place.parent, ignore_errors=True)
        remote_git("clone", address, f"{place}.draft", seconds=CLONE_SECONDS)
        Path(f"{place}.draft").rename(place)
    return place

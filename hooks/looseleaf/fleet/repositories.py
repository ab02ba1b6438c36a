"""The repositories of a list, folders and URLs: clones of them, and the hosts that get their updates."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from looseleaf import hosts
from looseleaf.errors import UpdateError
from looseleaf.hosts import SECRETS, Host, Token
from looseleaf.remote import remote_git
from looseleaf.snapshot import git, succeeds

REMOTE = re.compile(
    r"(?:\w[\w+]*://(?:[^/@]*@)?|[\w.-]+@(?=[^/]+:))(?P<host>[^/:]*)(?::\d+(?=/))?[:/](?P<path>.+?)(?:\.git)?/?"
)
# Time limit of git ls-remote.
SECONDS = 60
NO_TOKEN = Token("none", "\0")


def listed(given: Sequence[str], file: Path | None) -> dict[str, str]:
    """Return the addresses, absolute paths or URLs, of the given entries and of those in a file, by name.

    An entry is ADDRESS or NAME=ADDRESS. Relative paths in a file are relative to its folder.
    """
    entries = [(text, Path.cwd()) for text in given]
    if file:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        entries += [(text, file.parent) for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())]
    found: dict[str, str] = {}
    for text, base in entries:
        name, address = re.findall(r"^(?:([\w.-]+)=)?(.*)", text)[0]
        if not REMOTE.fullmatch(address):
            address = str((base / os.path.expanduser(address)).resolve())
        name = name or re.split(r"[/:]", address.rstrip("/").removesuffix(".git"))[-1]
        if name in found:
            problem = f"two repositories have the name {name}: {found[name]} and {address}"
            raise UpdateError(NO_TOKEN.hide(problem), "Remove one, or write NAME=ADDRESS.")
        found[name] = address
    if not found:
        raise UpdateError("no repository is listed", "Name some, or a file with one in each line: --file FILE.")
    return found


def read(address: str, *arguments: str) -> str:
    """Return what `git ls-remote` prints for an address, where git finds the credentials that it needs."""
    return remote_git(Path.cwd(), NO_TOKEN, "ls-remote", "--", address, *arguments, seconds=SECONDS)


def opened(address: str, state: Path) -> Path:
    """Return the folder of a repository, or a clone of a URL."""
    folder = clone_of(address, state) if REMOTE.fullmatch(address) else Path(address)
    if not succeeds("rev-parse", "--verify", "HEAD", folder=folder):
        raise UpdateError(f"{NO_TOKEN.hide(address)} is not a git repository with a commit", "Correct the list.")
    return folder


def clone_of(address: str, state: Path) -> Path:
    """Return a clone of an address in its present state, which all processes share."""
    place = state / "clones" / digest(address) / digest(read(address))
    with locked(place.parent.with_suffix(".lock")):
        if not place.exists():
            shutil.rmtree(f"{place}.draft", ignore_errors=True)
            remote_git(Path.cwd(), NO_TOKEN, "clone", "--quiet", "--", address, f"{place}.draft")
            Path(f"{place}.draft").rename(place)
    return place


def remove_older_clones(state: Path) -> None:
    """Keep the newest clone of each address. At the end of a run only, because its processes share the clones."""
    for folder in (state / "clones").glob("*/"):
        with locked(folder.with_suffix(".lock")):
            for older in sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime)[:-1]:
                shutil.rmtree(older, ignore_errors=True)


class Local(Host):
    """A folder in place of a host: the branch is left there, and no request is opened."""

    rights = "the permission to write to the folder"

    def offer(self, branch: str, title: str, body: str) -> tuple[str, bool]:
        """Return where the branch is."""
        return f"the branch {branch} of {self.repository}", True


def destination(folder: Path, kind: str, push: str | None) -> tuple[str, Host]:
    """Return the repository that gets the branch of an update, and its host; `kind` is the choice `ci`.

    It is that of the folder or, with `push`, its `origin` at that host. GITHUB_API_URL and CI_API_V4_URL replace the
    usual addresses.
    """
    base = git("rev-parse", "--abbrev-ref", "HEAD", folder=folder)
    if not push:
        top = git("rev-parse", "--show-toplevel", folder=folder)
        return top, Local("", top, base, NO_TOKEN)
    if base == "HEAD":
        raise UpdateError("no branch is checked out", "Switch to the branch that is to be updated.")
    origin = git("remote", "get-url", "--push", "origin", folder=folder)
    if not (match := REMOTE.fullmatch(origin)):
        raise UpdateError(f"{origin} is not an address of GitHub or GitLab", "Correct the remote `origin`.")
    host, path = match["host"], match["path"]
    if host != push:
        hint = f"Push it with --push {host}." if host else "Set `origin` to its address at that host."
        raise UpdateError(f"its origin is at {host or origin}, and the token is for {push}", hint)
    if kind == "gitlab":
        usual = {"CI_API_V4_URL": f"https://{host}/api/v4", "CI_PROJECT_ID": path, "CI_COMMIT_BRANCH": base}
    else:
        api = "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
        usual = {"GITHUB_API_URL": api, "GITHUB_REPOSITORY": path, "GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": base}
    given = (*SECRETS, "GITHUB_API_URL", "CI_API_V4_URL")
    return origin, hosts.from_environment(usual | {name: os.environ[name] for name in given if name in os.environ})


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

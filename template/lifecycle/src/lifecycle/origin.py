"""Where this repository was rendered from: the template's source and commit, for what is not copied into it.

`looseleaf` (inference of a contract, updates) is versioned with the template; it runs from the commit recorded here.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lifecycle.errors import LifecycleError

ANSWERS = ".copier-answers.yml"
VARIABLE = "LOOSELEAF_SOURCE"
# What Copier abbreviates.
HOSTS = {"gh:": "github.com", "gl:": "gitlab.com"}
HINT = f"Name the template's checkout or address: {VARIABLE}=…"


@dataclass(frozen=True)
class Origin:
    """A folder, or the address of a git repository; `commit` is a commit or a tag, empty for what is there now."""

    url: str
    commit: str = ""

    @property
    def option(self) -> str:
        """The option of `uv run` that adds `looseleaf` from here."""
        folder = Path(self.url)
        # A bare repository has its HEAD at the top, and no file to run from.
        if not self.commit and folder.is_dir() and not (folder / "HEAD").is_file():
            return f"--with-editable={self.url}"
        return f"--with=looseleaf @ {_git_address(self.url)}" + (f"@{self.commit}" if self.commit else "")


def recorded(root: Path, environ: Mapping[str, str] | None = None) -> Origin:
    """What LOOSELEAF_SOURCE names, else what Copier recorded; raises LifecycleError where that is nowhere."""
    if named := (os.environ if environ is None else environ).get(VARIABLE, ""):
        found = re.fullmatch(r"(.*[/\w])@([\w.-]+)", named)
        url, commit = found.groups() if found and not (root / named).exists() else (named, "")
        url = _expanded(url)
        return Origin(url if _is_remote(url) else _folder(url, root, VARIABLE), commit)
    path = root / ANSWERS
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        url, commit = str(told["_src_path"]), str(told.get("_commit") or "")
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise LifecycleError(f"{path} does not say where the template is ({error!r})", HINT) from error
    # `git describe` of a commit without a tag of its own ends in its hash.
    commit = re.sub(r"^.*-\d+-g(?=[0-9a-f]{7,40}\Z)", "", commit)
    url = _expanded(url)
    if _is_remote(url):
        return Origin(url, commit)
    folder = _folder(url, root, f"_src_path in {ANSWERS}")
    if commit and not _has(folder, commit):
        problem = f"the commit {commit} in {ANSWERS} is not in {folder}"
        raise LifecycleError(problem, f"It was copied from work that was never committed. {HINT}")
    return Origin(folder, commit)


def _expanded(url: str) -> str:
    for start, host in HOSTS.items():
        if url.startswith(start):
            return f"https://{host}/{url.removeprefix(start).removesuffix('.git')}.git"
    return url.removeprefix("git+file://").removeprefix("file://")


def _is_remote(url: str) -> bool:
    return "://" in url or bool(re.match(r"[\w.-]+@[\w.-]+:", url))


def _folder(name: str, root: Path, where: str) -> str:
    folder = (root / Path(name).expanduser()).resolve()
    if not folder.is_dir():
        raise LifecycleError(f"{where}: there is no folder {folder}", HINT)
    return str(folder)


def _has(folder: str, commit: str) -> bool:
    command = ["git", "-C", folder, "cat-file", "-e", commit]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return True


def _git_address(url: str) -> str:
    if url.startswith("git+"):
        return url
    if "://" in url:
        return f"git+{url}"
    if found := re.fullmatch(r"([\w.-]+@[\w.-]+):(.*)", url):
        return f"git+ssh://{found[1]}/{found[2]}"
    return f"git+{Path(url).as_uri()}"

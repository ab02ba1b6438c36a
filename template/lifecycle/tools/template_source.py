"""Print the option with which `uv run` finds the template's command `looseleaf`; with `send`, push a prepared update.

`looseleaf` (contract inference, updates) is versioned with the template and runs from the source and commit that
`.copier-answers.yml` records. The environment variable LOOSELEAF_SOURCE names another source. Standard library only,
because the CI job that pushes an update runs no package.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ANSWERS_FILE = ".copier-answers.yml"
VARIABLE = "LOOSELEAF_SOURCE"
# Abbreviations that Copier accepts.
HOSTS = {"gh:": "github.com", "gl:": "gitlab.com"}
# git gets the password for the CI host from it: of the token that reads the template, or that may push.
HELPER = """!f() { [ "$1" != get ] || printf 'username=x-access-token\\npassword=%s\\n' "$LOOSELEAF_GIT_TOKEN"; }; f"""
HINT = f"Set {VARIABLE} to the folder or address of the template."


class SourceError(Exception):
    """The source of the template is not recorded or does not exist."""


@dataclass(frozen=True)
class Source:
    """A folder or the address of a git repository; `commit` is a commit or tag, empty for the newest state."""

    url: str
    commit: str = ""

    @property
    def option(self) -> str:
        """The option of `uv run` that adds `looseleaf` from this source."""
        folder = Path(self.url)
        # A bare repository has a file HEAD and no files to run from.
        if not self.commit and folder.is_dir() and not (folder / "HEAD").is_file():
            return f"--with-editable={self.url}"
        return f"--with=looseleaf @ {_git_address(self.url)}" + (f"@{self.commit}" if self.commit else "")


def template_source(root: Path, environment: Mapping[str, str] = os.environ) -> Source:
    """Return the source that LOOSELEAF_SOURCE names, else the one that Copier recorded.

    Raises:
        SourceError: neither names a source that exists.
    """
    if named := environment.get(VARIABLE, ""):
        match = re.fullmatch(r"(.*[/\w])@([\w.-]+)", named)
        url, commit = match.groups() if match and not (root / named).exists() else (named, "")
        return _existing(url, commit, root, VARIABLE, HINT)
    path = root / ANSWERS_FILE
    try:
        text = path.read_text(encoding="utf-8")
        url, commit = _value(text, "_src_path"), _value(text, "_commit")
        if not url:
            raise ValueError("it has no _src_path")
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path} does not name the template ({getattr(error, 'strerror', None) or error})\n  {HINT}"
        ) from error
    # `git describe` of a commit without a tag ends in its hash.
    commit = re.sub(r"^.*-\d+-g(?=[0-9a-f]{7,40}\Z)", "", commit)
    hint = f"The template was copied with uncommitted changes. {HINT}"
    return _existing(url, commit, root, f"_src_path in {ANSWERS_FILE}", hint)


def _existing(url: str, commit: str, root: Path, where: str, hint: str) -> Source:
    url = _expanded(url)
    if _is_remote(url):
        return Source(url, commit)
    folder = _folder(url, root, where)
    if commit and not _has(folder, commit):
        raise SourceError(f"{where}: {commit} is not a commit or tag of {folder}\n  {hint}")
    return Source(folder, commit)


def _value(text: str, name: str) -> str:
    """Return a value of the answers file as Copier writes it: plain or quoted, a long one on indented lines."""
    match = re.search(rf"^{name}:((?: .*)?(?:\n .*)*)", text, re.MULTILINE)
    value = " ".join(match[1].split()) if match else ""
    if value.startswith('"'):
        return str(json.loads(value))
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


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
        raise SourceError(f"{where}: the folder {folder} does not exist\n  {HINT}")
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
    if match := re.fullmatch(r"([\w.-]+@[\w.-]+):(.*)", url):
        return f"git+ssh://{match[1]}/{match[2]}"
    return f"git+{Path(url).as_uri()}"


def send(source: Source) -> int:
    """Push the update that `make propose` prepared, with the template's `looseleaf.send`; returns its exit code.

    The token may be used by git and by that module only: no code of this repository and no installed package runs.
    """
    # git sends the token to the CI host's own address only.
    host = os.environ.get("GITHUB_SERVER_URL") or os.environ.get("CI_SERVER_URL", "")
    reads, pushes = (os.environ.get(name, "") for name in ("LOOSELEAF_READ_TOKEN", "LOOSELEAF_TOKEN"))
    given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"credential.{host}.helper", "GIT_CONFIG_VALUE_0": HELPER}
    given = os.environ | given
    with tempfile.TemporaryDirectory(prefix="template-") as folder:
        at = [["-C", folder, "checkout", "--quiet", source.commit]] if source.commit else []
        for command in [["clone", "--quiet", source.url.removeprefix("git+"), folder], *at]:
            env = given | {"LOOSELEAF_GIT_TOKEN": reads or pushes}
            done = subprocess.run(["git", *command], env=env, capture_output=True, text=True)
            if done.returncode:
                raise SourceError(f"the template cannot be fetched: {done.stderr.strip()}\n  {HINT}")
        start = f"import sys; sys.path.insert(0, {folder + '/hooks'!r})"
        program = f"{start}; from looseleaf.send import main; sys.exit(main())"
        command = [sys.executable, "-I", "-S", "-c", program]
        return subprocess.run(command, env=given | {"LOOSELEAF_GIT_TOKEN": pushes}).returncode


def main(arguments: list[str]) -> int:
    """Run one command for the repository in the current folder."""
    try:
        source = template_source(Path.cwd())
        if arguments == ["send"]:
            return send(source)
        print(source.option)
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

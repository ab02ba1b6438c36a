"""The template for the tests: a release made of the working tree, and renders that reject unknown choices."""

import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import copier
import yaml

from looseleaf.snapshot import git
from maintenance.history import recorded
from maintenance.snapshots import snapshot
from support.forking import Forks

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template"
PRESETS = ROOT / "tests" / "answers"
# The paths that an update may change, as prefixes in a render. All other files are the team's.
TEMPLATES_ZONE = ("lifecycle/", ".github/", ".copier-answers.yml", "uv.toml")
RELEASE = "v9999.0.0"
# The packages `looseleaf` and `maintenance` of this tree, for PYTHONPATH.
SOURCES = f"{ROOT / 'hooks'}{os.pathsep}{ROOT}"
# The demo of this tree, whichever one is installed; the folder to render into comes last.
DEMO = ("env", f"PYTHONPATH={SOURCES}", sys.executable, "-m", "maintenance.demo", "--into")
# Seconds after which a command counts as hanging.
LONGEST = 1500


class _Loader(yaml.SafeLoader):
    """Reads copier.yml without following its includes."""


_Loader.add_constructor("!include", lambda loader, node: {})


def copier_yml(root: Path = ROOT) -> dict[str, Any]:
    """Return all documents of copier.yml and org.yml in one mapping."""
    documents = [*yaml.load_all((root / "copier.yml").read_bytes(), Loader=_Loader)]
    documents += yaml.safe_load_all((root / "org.yml").read_bytes())
    return {name: value for document in documents for name, value in document.items()}


def questions() -> dict[str, dict[str, Any]]:
    """Return the questions for the user."""
    return {
        name: value
        for name, value in copier_yml().items()
        if not name.startswith("_") and value.get("when", True) is not False
    }


@dataclass(frozen=True)
class Template:
    """A git repository with a release of the template."""

    folder: Path

    @classmethod
    def of(cls, root: Path, folder: Path) -> "Template":
        """Commit the working tree at `root` to a new repository and tag it as a release."""
        snapshot(root, folder)
        template = cls(folder)
        template.tag(RELEASE)
        return template

    @classmethod
    def with_history(cls, root: Path, folder: Path) -> "Template":
        """Clone `root`, tag its recorded releases, and add the working tree as a release on top.

        In a clone without the complete history, this fails; the tests are never skipped.
        """
        git("clone", "--quiet", "--no-tags", f"file://{root}", str(folder), folder=root)
        for version, commit in recorded(root).items():
            git("tag", "--annotate", "--message", str(version), f"v{version}", commit, folder=folder)
        environment = {"GIT_DIR": str(folder / ".git"), "GIT_WORK_TREE": str(root)}
        git("add", "--all", folder=root, **environment)
        git("commit", "--quiet", "--allow-empty", "--message", "the working tree", folder=root, **environment)
        git("reset", "--quiet", "--hard", folder=folder)
        template = cls(folder)
        template.tag(RELEASE)
        return template

    @cached_property
    def url(self) -> str:
        """The address of the template for Copier."""
        return f"git+file://{self.folder}"

    def tag(self, version: str) -> None:
        """Make HEAD a release."""
        git("tag", "--annotate", "--message", version, version, folder=self.folder)

    def release(self, version: str) -> None:
        """Commit all changes in the folder and make HEAD a release."""
        git("add", "--all", folder=self.folder)
        git("commit", "--quiet", "--allow-empty", "--message", version, folder=self.folder)
        self.tag(version)

    def org(self) -> dict[str, str]:
        """Return the values of org.yml."""
        content = yaml.safe_load((self.folder / "org.yml").read_text(encoding="utf-8"))
        return {name: value["default"] for name, value in content.items()}

    def set_org(self, **values: str) -> None:
        """Set values of org.yml; an empty text stands for no value."""
        path = self.folder / "org.yml"
        text = path.read_text(encoding="utf-8")
        for name, value in values.items():
            text, count = re.subn(rf"(?<=^{name}:\n)((?:  .*\n)*?  default: ).*", rf'\g<1>"{value}"', text, flags=re.M)
            assert count == 1, name
        path.write_text(text, encoding="utf-8")

    def copy(self, into: Path, version: str | None = None, **choices: Any) -> Path:
        """Render a release (default: the newest) without trust; unknown choices are refused, unlike in Copier."""
        if unknown := choices.keys() - questions().keys():
            raise ValueError(f"copier.yml has no question for {', '.join(sorted(unknown))}")
        return self.rendered(into, version, choices)

    def rendered(
        self, into: Path, version: str | None = None, choices: Mapping[str, Any] = MappingProxyType({})
    ) -> Path:
        """Render a release into a folder; a render of the same state with the same choices is copied from the first."""
        state = git("rev-parse", "HEAD", "--tags", folder=self.folder)
        name = hashlib.sha256(repr((state, version, sorted(choices.items()))).encode()).hexdigest()
        first, is_new = Path(self._renders.name, name), not into.exists()
        if is_new and first.exists():
            return Path(shutil.copytree(first, into, symlinks=True))
        copier.run_copy(self.url, into, data=dict(choices), vcs_ref=version, defaults=True, quiet=True, unsafe=False)
        if is_new:
            shutil.copytree(into, first, symlinks=True)
        return into

    @cached_property
    def _renders(self) -> "tempfile.TemporaryDirectory[str]":
        return tempfile.TemporaryDirectory(prefix="renders-")

    def update(self, folder: Path) -> None:
        """Update a render to the newest release, without trust."""
        copier.run_update(folder, defaults=True, quiet=True, unsafe=False, overwrite=True)


def files(folder: Path) -> dict[str, bytes]:
    """Return every file of a render by its path, without .git."""
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".git/"):
            yield name, path.read_bytes()


def is_templates(name: str) -> bool:
    """Return whether a rendered path is in the template's zone."""
    return name.startswith(TEMPLATES_ZONE)


def rendered_name(path: Path) -> str:
    """Return the path that a file of template/ has in a render."""
    name = path.relative_to(TEMPLATE).as_posix().removesuffix(".jinja")
    return name.replace("{{_copier_conf.answers_file}}", ".copier-answers.yml")


def template_files() -> list[Path]:
    """Return the files of template/ that git does not ignore, which are the rendered ones."""
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "template", folder=ROOT)
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def tool(name: str) -> str:
    """Return the path of a command in the environment of the suite."""
    return str(Path(sys.prefix) / "bin" / name)


def start(*command: str, folder: Path, **options: Any) -> "subprocess.Popen[str]":
    """Start a process with its own group that Ctrl-C stops; `options` are those of Popen."""
    # A suite in the background ignores the signal, and child processes would inherit that.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, cwd=folder, text=True, start_new_session=True, preexec_fn=listen, **options)


def run(*command: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command; `stdout` of the result has both its output and its errors."""
    from looseleaf.project import environment as usual

    return subprocess.run(
        command,
        cwd=folder,
        env=usual() | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
    )


def outcome(tree: Path, *tests: str) -> tuple[int, str]:
    """Run tests of a copy of the tree on that copy; return the exit code and output of pytest.

    Tests in template/ run in place, as if it were rendered.
    """
    from looseleaf.project import environment

    sources = [tree, tree / "hooks", tree / "template/lifecycle/src", tree / "template/src"]
    stand_in = tree / "template/pyproject.toml"
    if any(name.startswith("template/") for name in tests):
        shutil.copy(stand_in.with_suffix(".toml.jinja"), stand_in)
    try:
        given = {"folder": tree, "sources": sources, "environment": environment(), "seconds": LONGEST}
        return _forks(tree).pytest("-q", "-x", "-p", "no:cacheprovider", *tests, **given)
    finally:
        stand_in.unlink(missing_ok=True)


@cache
def _forks(tree: Path) -> Forks:
    # One for each tree, because the sweep uses two at the same time.
    return Forks()

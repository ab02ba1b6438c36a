"""A rendered repository whose container programs only record how they are called."""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lifecycle.storage import Store
from looseleaf.snapshot import git
from support.rendering import run
from support.storages import Storage


@dataclass(frozen=True)
class Repository:
    """A rendered repository with the environment of the suite; `programs` is a folder with all that it can start."""

    folder: Path
    programs: Path
    storage: Storage

    @classmethod
    def of(cls, rendered: Path, folder: Path) -> "Repository":
        """Copy a render, and commit it."""
        project = shutil.copytree(rendered, folder / "project")
        (project / ".venv").symlink_to(sys.prefix)
        programs = folder / "bin"
        programs.mkdir()
        for name in ("make", "sh", "git"):
            (programs / name).symlink_to(str(shutil.which(name)))
        git("init", "--quiet", folder=project)
        git("add", "--all", folder=project)
        git("commit", "--quiet", "--message", "First", folder=project)
        return cls(project, programs, Storage(Store(project / "storage"), folder / "drafts"))

    def make(self, goal: str, *variables: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a goal of make."""
        return run("make", goal, *variables, folder=self.folder, PATH=str(self.programs), **environment)

    def install(self, name: str, code: int = 0) -> None:
        """Install a program that only prints its arguments and the images for compose, and ends with `code`."""
        program = self.programs / name
        program.write_text(
            '#!/bin/sh\nfor one in "$0" "$@"; do echo "argument: $one"; done\n'
            f'echo "images: $SERVE_IMAGE $JOBS_IMAGE"\nexit {code}\n'
        )
        program.chmod(0o755)

    def deploy(self, kind: str = "onnx") -> str:
        """Deploy a version, and return its name."""
        bundle = self.storage.publish(kind=kind)
        self.storage.deploy(bundle)
        return bundle.version


def arguments(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Return the arguments of the programs."""
    assert done.returncode == 0, done.stdout
    return re.findall(r"^argument: (.*)$", done.stdout, re.MULTILINE)


def archive(*layers: list[str]) -> bytes:
    """Return the archive of an image as engines write it; each layer has some empty files."""
    files = {"manifest.json": json.dumps([{"Layers": [f"{at}/layer.tar" for at in range(len(layers))]}]).encode()}
    return _tar(files | {f"{at}/layer.tar": _tar(dict.fromkeys(names, b"")) for at, names in enumerate(layers)})


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            (member := tarfile.TarInfo(name)).size = len(content)
            made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()

"""Container images, built once for all tests with containers, and the simulated year of the demo's repository."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from looseleaf.project import make
from support.buckets import bucket, bucket_server  # noqa: F401
from support.images import BUILD, Images, rendered_images
from support.rendering import ROOT, Template, files, run


@pytest.fixture(scope="session")
def images(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """A rendered repository, and an image store of its own."""
    with rendered_images(template, tmp_path_factory.mktemp("images")) as made:
        yield made


@pytest.fixture(scope="session")
def jobs(images: Images) -> str:
    """Return the command that runs a job, after the jobs have deployed a first version."""
    printed = images.build("TARGET=jobs")
    for command in ("sample", "train", "promote", "features"):
        images.job(printed, command)
    return printed


@pytest.fixture(scope="session")
def serve(images: Images, jobs: str) -> str:
    """Return the command that runs the service with the version that the jobs have deployed."""
    return images.build("BAKE=1", f"OPTIONS={BUILD} --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture(scope="session")
def year(project: Path) -> dict[str, Any]:
    """Return what `make year` wrote and printed, and whether it changed the repository's own storage."""
    before = files(project / "storage")
    done = run(*make("year"), folder=project, LOOSELEAF_SOURCE=str(ROOT))
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads((project / "build/year.json").read_text(encoding="utf-8"))
    return found | {"said": done.stdout, "untouched": before == files(project / "storage")}

"""Container images, which are built once for all tests with containers."""

from collections.abc import Iterator

import pytest

from support.buckets import bucket, bucket_server  # noqa: F401
from support.images import BUILD, Images, rendered_images
from support.rendering import Template


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

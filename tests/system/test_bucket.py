"""A bucket instead of a common disk: a version is exported, deployed on one machine, served on a second."""

import re
import shutil
from pathlib import Path

import pytest

from looseleaf.project import make, post, service
from maintenance.demo import readme_request
from support.buckets import WEED
from support.rendering import run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]


def test_the_server_of_buckets_is_installed_here() -> None:
    """Without it, the tests with a bucket are skipped, as in a repository that has left the template."""
    assert WEED.exists()


@pytest.fixture
def machine(project: Path, tmp_path: Path) -> Path:
    """A clone of the repository, without any storage."""
    ignored = shutil.ignore_patterns("storage", ".venv", "build", ".git")
    return Path(shutil.copytree(project, tmp_path / "machine", ignore=ignored))


def done(folder: Path, *command: str, **environment: str) -> str:
    ran = run(*make(*command), folder=folder, **environment)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_a_version_goes_from_ci_to_production_through_a_file_and_a_bucket(
    project: Path, machine: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Path(shutil.copytree(machine, tmp_path / "second"))
    for folder in (machine, second):
        (folder / ".venv").symlink_to(project / ".venv")
    exported = done(project, "bundle", f"EXPORT={tmp_path / 'bundle.zip'}")
    version = re.findall(r"\d{8}T\d{6,12}-[0-9a-f]{8}", exported)[0]

    monkeypatch.setenv("LIFECYCLE_STORAGE", bucket)
    assert version in done(machine, "bundle", f"IMPORT={tmp_path / 'bundle.zip'}")
    assert version in done(machine, "promote", "features")
    request = readme_request(project)
    with service(second, tmp_path / "log") as address:
        assert 0 < post(f"{address}/predict", request)["probability"] < 1
        post(f"{address}/predict", [request, request])
    assert not (second / "storage").exists()
    assert "3 rows of 1 segments" in done(machine, "collect")
    assert version in done(second, "history")
    done(machine, "score")
    # Scoring logs the predictions of every customer.
    assert (machine / "build/working_copy").is_dir()
    shutil.rmtree(machine / "build/working_copy")
    assert "0 rows of 0 segments" in done(machine, "collect")
    assert len([*(machine / "build/working_copy").rglob("*.parquet")]) == 3

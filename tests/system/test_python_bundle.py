"""The `python` model of `lifecycle/docs/serving.md`, from its code to a service in the environment that it requires."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from looseleaf.project import make, post, service
from maintenance.demo import readme_request
from support import PATIENCE
from support.pages import blocks, replaced
from support.rendering import TEMPLATE, run, tool

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]

PAGE = (TEMPLATE / "lifecycle/docs/serving.md").read_text(encoding="utf-8")
NETWORK, CANDIDATE = blocks(PAGE, "Example of a `python` model")
(PACKAGES,) = re.findall(r"`uv add (numpy .*?)` makes both", PAGE)


def lifecycle(folder: Path, storage: Path, *arguments: str) -> str:
    """Run a `lifecycle` command of the repository on another storage."""
    done = run(str(folder / ".venv/bin/lifecycle"), *arguments, folder=folder, LIFECYCLE_STORAGE=str(storage))
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


@pytest.fixture(scope="module")
def own(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Yield the project with a `python` model promoted in its own storage, and restore the project afterwards."""
    storage = tmp_path_factory.mktemp("python") / "storage"
    before = {name: (project / name).read_bytes() for name in ("src/model/estimator.py", "pyproject.toml", "uv.lock")}
    try:
        (project / "src/model/network.py").write_text(NETWORK, encoding="utf-8")
        code = replaced(before["src/model/estimator.py"].decode(), CANDIDATE)
        imports = CANDIDATE.partition("\n")[0]
        code = code.replace("import Inputs\n", f"import Inputs\n{imports}\n")
        code = re.sub("from sklearn.ensemble .*\n", "", code)
        (project / "src/model/estimator.py").write_text(code, encoding="utf-8")
        done = run(tool("uv"), "add", "--quiet", *PACKAGES.split(), folder=project)
        assert done.returncode == 0, done.stdout
        done = run(*make("check"), folder=project)
        assert done.returncode == 0, done.stdout
        assert "python bundle" in lifecycle(project, storage, "train")
        lifecycle(project, storage, "promote")
        yield project, storage
    finally:
        (project / "src/model/network.py").unlink()
        for name, content in before.items():
            (project / name).write_bytes(content)
        assert run(*make("setup"), folder=project).returncode == 0


def installed(project: Path, into: Path, *arguments: str) -> Path:
    """Create an environment as a server would, and return its folder."""
    done = run(tool("uv"), "sync", "--quiet", "--locked", *arguments, folder=project, UV_PROJECT_ENVIRONMENT=str(into))
    assert done.returncode == 0, done.stdout
    return into


def test_a_python_bundle_is_served_in_the_environment_that_it_requires(own: tuple[Path, Path], tmp_path: Path) -> None:
    project, storage = own
    there = tmp_path / "server"
    there.mkdir()
    installed(project, there / ".venv", "--all-packages", "--no-default-groups", "--extra", "serve")
    assert run(str(there / ".venv/bin/python"), "-c", "import mlflow", folder=there).returncode == 1
    shutil.copytree(storage, there / "storage")
    with service(there, tmp_path / "log", there / "storage") as address:
        response = post(f"{address}/predict", readme_request(project))
    assert response["prediction"] in ("churns", "stays")
    assert 0 < response["probability"] < 1


def test_an_environment_without_the_teams_dependencies_refuses_a_python_bundle(
    own: tuple[Path, Path], tmp_path: Path
) -> None:
    project, storage = own
    arguments = ["--no-default-groups", "--package", "looseleaf-lifecycle", "--extra", "serve", "--extra", "skops"]
    environment = installed(project, tmp_path / ".venv", *arguments)
    done = subprocess.run(
        [str(environment / "bin/lifecycle"), "serve", "--storage", str(storage), "--port", "0"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1
    assert "of kind python needs" in done.stderr
    assert "pandas" in done.stderr
    # The code itself is in the bundle.
    assert "churn-model" not in done.stderr
    assert "--all-packages" in done.stderr
    assert "Traceback" not in done.stderr

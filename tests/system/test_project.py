"""The default repository, installed once by `make demo` and used as its README describes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from looseleaf.project import make, post, service
from looseleaf.snapshot import git
from looseleaf.steps import StepFailed
from maintenance.demo import readme_request, scored
from support import PATIENCE
from support.rendering import DEMO, PRESETS, ROOT, run, start, tool
from support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]

HOOKS = ["ruff check", "ruff format", "contract, features, config, owners and template files"]


def test_the_demo_shows_each_step_and_the_next_commands(demo: dict[str, Any]) -> None:
    assert [step["name"] for step in demo["steps"]] == [
        "copy the template",
        "make setup",
        "make train",
        "make promote",
        "make features",
        "make serve, one request, SIGTERM",
        "make score",
        "compare the two predictions",
    ]
    for step in demo["steps"]:
        assert step["name"] in demo["output"]
        assert step["seconds"] > 0
    assert demo["seconds"] == pytest.approx(
        sum(step["seconds"] for step in demo["steps"] if not step["downloads"]), abs=0.1
    )
    assert json.dumps(demo["prediction"]) in demo["output"]
    assert "make check test" in demo["output"]


def test_the_demo_renders_the_default_shape(project: Path) -> None:
    choices = yaml.safe_load((PRESETS / "default.yml").read_text(encoding="utf-8"))
    recorded = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert {name: recorded[name] for name in choices} == choices


def test_the_first_commit_prints_each_hook_and_passes(project: Path) -> None:
    # The demo commits without hooks, so that it trains from a commit.
    git("update-ref", "-d", "HEAD", folder=project)
    done = run("git", "commit", "--message", "The first", folder=project)
    assert done.returncode == 0, done.stdout
    for hook in HOOKS:
        assert re.search(rf"^{re.escape(hook)}\.+Passed$", done.stdout, re.MULTILINE), done.stdout
    assert not git("status", "--porcelain", folder=project)


@pytest.mark.parametrize(
    ("name", "line", "hook", "reason"),
    [
        ("src/model/data.py", "import math\n", "ruff check", "F401"),
        ("src/model/planted.py", "x  =  1\n", "ruff format", "would be reformatted"),
        ("config/base.yaml", "sotrage: elsewhere\n", HOOKS[2], "storage"),
        ("lifecycle/docs/data.md", "Ours.\n", HOOKS[2], "this file belongs to the template and was edited"),
        (".copier-answers.yml", "ours: 1\n", HOOKS[2], "it was edited by hand"),
    ],
)
def test_a_commit_with_a_planted_defect_is_refused(project: Path, name: str, line: str, hook: str, reason: str) -> None:
    path = project / name
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(before + line, encoding="utf-8")
    git("add", "--all", folder=project)
    try:
        done = run("git", "commit", "--message", "Planted", folder=project)
    finally:
        git("reset", "--quiet", "--hard", folder=project)
    assert done.returncode == 1
    assert re.search(rf"^{re.escape(hook)}\.+Failed$", done.stdout, re.MULTILINE), done.stdout
    assert reason in done.stdout


def test_check_and_test_pass(project: Path) -> None:
    done = run(*make("check", "test"), folder=project)
    assert done.returncode == 0, done.stdout


def test_a_second_setup_changes_nothing(project: Path) -> None:
    before = (project / "uv.lock").read_bytes()
    done = run(*make("setup"), folder=project)
    assert done.returncode == 0, done.stdout
    assert (project / "uv.lock").read_bytes() == before
    assert b"exclude-newer" not in before


def test_a_model_may_have_the_name_of_a_dependency(project: Path) -> None:
    """The distribution is called `churn-model`, which no package of the environment is called."""
    locked = set(re.findall(r'^name = "([a-z0-9-]+)"$', (project / "uv.lock").read_text(encoding="utf-8"), re.M))
    assert "churn-model" in locked
    assert not [name for name in locked - {"churn-model"} if name.endswith("-model")]


def without_wheels(lock: str) -> list[str]:
    """Return the locked packages of an index that exist only as source."""
    packages = tomllib.loads(lock)["package"]
    return [package["name"] for package in packages if "registry" in package["source"] and "wheels" not in package]


def test_no_locked_package_exists_only_as_source(project: Path) -> None:
    """`uv lock` downloads all of such a package, also where no environment contains it."""
    lock = (project / "uv.lock").read_text(encoding="utf-8")
    assert without_wheels(lock) == []
    planted = lock + '\n[[package]]\nname = "big"\nversion = "1"\nsource = { registry = "https://example.org" }\n'
    assert without_wheels(planted) == ["big"]


def test_the_curl_command_of_the_readme_returns_a_prediction(project: Path, tmp_path: Path) -> None:
    command = re.search(r"^\s*(curl (?:.*\\\n)*.*-d '\{.*?\}'.*)$", (project / "README.md").read_text(), re.MULTILINE)
    assert command
    with service(project, tmp_path / "log") as address:
        there = re.sub(r"(http://)?(localhost|127\.0\.0\.1):8000", address, command[1])
        done = run("bash", "-c", f"{there} --fail --silent --show-error", folder=project)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout).keys() == {"prediction", "probability"}


def test_the_readmes_client_code_runs_with_the_client_alone(project: Path, tmp_path: Path) -> None:
    done = run(*make("client"), folder=project, UV_OFFLINE="1", PATH=f"{project / 'nothing'}{os.pathsep}/usr/bin:/bin")
    assert done.returncode == 0, done.stdout
    (wheel,) = project.glob("dist/*.whl")
    first = wheel.read_bytes()
    assert wheel.relative_to(project).as_posix() in done.stdout
    assert run(*make("client"), folder=project).returncode == 0
    assert wheel.read_bytes() == first
    assert not git("status", "--porcelain", "dist", folder=project)

    python = str(tmp_path / ".venv/bin/python")
    assert run(tool("uv"), "venv", "--python", sys.executable, ".venv", folder=tmp_path).returncode == 0
    done = run(tool("uv"), "pip", "install", "--python", python, str(wheel), folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert run(tool("uv"), "pip", "check", "--python", python, folder=tmp_path).returncode == 0
    installed = run(tool("uv"), "pip", "list", "--python", python, folder=tmp_path).stdout
    assert "churn-client" in installed
    assert not re.search(r"lifecycle|numpy|fastapi|onnx", installed)
    (lines,) = re.findall(r"```python\n(from churn_client .*?)```", (project / "README.md").read_text(), re.DOTALL)
    request = {"customer_id": "c-00890", "discount": 25}
    with service(project, tmp_path / "log") as address:
        done = run(python, "-c", lines.replace("http://127.0.0.1:8000", address), folder=tmp_path)
        assert float(done.stdout) == post(f"{address}/predict", request)["probability"], done.stdout
        unknown = lines.replace("http://127.0.0.1:8000", address).replace("c-00890", "c-unknown")
        assert "churn_client.errors.UnknownKey: " in run(python, "-c", unknown, folder=tmp_path).stdout
    gone = run(python, "-c", lines.replace("http://127.0.0.1:8000", address), folder=tmp_path)
    assert "churn_client.errors.Unreachable: " in gone.stdout


def test_service_and_batch_agree_for_the_customer_of_the_readme(project: Path, demo: dict[str, Any]) -> None:
    file = next(project.glob("storage/scores/local/*/*.parquet"))
    score = scored(project, file, readme_request(project)["customer_id"])
    assert score["prediction"] == demo["prediction"]["prediction"]
    assert score["probability"] == pytest.approx(demo["prediction"]["probability"], rel=1e-9)


def test_the_service_needs_only_its_own_environment_and_the_storage(project: Path, tmp_path: Path) -> None:
    """In an empty folder, without the repository, pandas or MLflow."""
    environment = tmp_path / ".venv"
    extras = ["--extra", "serve", "--extra", "skops"]
    done = run(
        tool("uv"), "sync", "--locked", "--no-default-groups", "--package", "looseleaf-lifecycle", *extras,
        folder=project, UV_PROJECT_ENVIRONMENT=str(environment),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for module in ("pandas", "mlflow", "duckdb", "model"):
        assert run(str(environment / "bin/python"), "-c", f"import {module}", folder=tmp_path).returncode == 1, module
    storage = shutil.copytree(project / "storage", tmp_path / "storage")
    with service(tmp_path, tmp_path / "log", storage) as address:
        done = run(
            "curl", "--fail", "--silent", "--show-error", f"{address}/predict",
            "--json", json.dumps(readme_request(project)), folder=tmp_path,
        )  # fmt: skip
        lower = post(f"{address}/predict", readme_request(project) | {"discount": 25})
    assert done.returncode == 0, done.stdout
    readme, response = (project / "README.md").read_text(encoding="utf-8"), json.loads(done.stdout)
    documented = json.loads(re.findall(r"^The response is `(.*)`", readme, re.MULTILINE)[0])
    assert response | {"probability": round(response["probability"], 2)} == documented
    assert lower["prediction"] == "stays"


def has_ended(group: int) -> bool:
    """Return whether every process of a group has ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_ctrl_c_in_the_demo_leaves_nothing_running(tmp_path: Path) -> None:
    project = tmp_path / "project"
    process = start(*DEMO, str(project), folder=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    eventually((project / "uv.lock").exists)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "No process of it is running" in output
    eventually(lambda: has_ended(process.pid))


def test_an_interrupted_service_is_stopped(project: Path, tmp_path: Path) -> None:
    def interrupted() -> None:
        with service(project, tmp_path / "log") as address:
            addresses.append(address)
            raise KeyboardInterrupt

    addresses: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(StepFailed, match="refused"):
        post(f"{addresses[0]}/predict", readme_request(project))


def test_a_failing_demo_names_the_step_and_what_to_do(tmp_path: Path) -> None:
    nowhere = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    command = [*DEMO, str(tmp_path / "project")]
    done = run(*command, folder=tmp_path, UV_CACHE_DIR=str(tmp_path / "cache"), **nowhere)
    assert done.returncode == 1
    assert "The demo stopped. make setup" in done.stdout
    assert "The package index must be reachable" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_demo_leaves_a_folder_that_is_not_its_own_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine\n")
    done = run(*DEMO, str(tmp_path), folder=ROOT)
    assert done.returncode == 1
    assert "has other files in it" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

"""`make client`: the wheel, its version, and what stops it."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from client import build, files, package_name

from lifecycle import cli
from lifecycle.contract.schema import Contract
from support.rendering import TEMPLATE, tool

SAMPLE = Contract.from_json((TEMPLATE / "contract.json").read_bytes())


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with a contract and no network for uv."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "card-fraud-model"\n', encoding="utf-8")
    (tmp_path / "lifecycle").symlink_to(TEMPLATE / "lifecycle")
    (tmp_path / "contract.json").write_text(SAMPLE.to_json(), encoding="utf-8")
    monkeypatch.setenv("PATH", f"{Path(tool('uv')).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_wheel_is_built_without_a_network_and_can_be_used(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = repository / "dist"
    dist.mkdir()
    (dist / "another_client-1.0.0-py3-none-any.whl").touch()
    assert cli.main(["client"]) == 0
    (first,) = dist.glob("card_fraud_client-*.whl")
    assert cli.main(["client", "--build", "7"]) == 0
    (second,) = dist.glob("card_fraud_client-*.whl")
    assert second.name.split("-")[1].startswith("1.7.")
    assert first != second
    assert (dist / "another_client-1.0.0-py3-none-any.whl").exists()
    printed = capsys.readouterr().out
    assert f"dist/{second.name}" in printed
    assert "from card_fraud_client import Client, Row" in printed
    assert "Row(customer_id=...)" in printed
    names = zipfile.ZipFile(second).namelist()
    assert {"card_fraud_client/__init__.py", "card_fraud_client/py.typed"} <= {*names}
    metadata = zipfile.ZipFile(second).read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "Name: card-fraud-client\n" in metadata
    assert [line.split(">")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist")] == [
        f"Requires-Dist: {name}" for name in ("httpx", "pydantic")
    ]
    code = "from card_fraud_client import Client, Row; print(Row(customer_id='a'))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(second)}, check=False)
    assert done.returncode == 0
    subprocess.run(["git", "init", "--quiet"], cwd=repository, check=True)
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True, check=True
    )
    assert "dist" not in status.stdout


def test_equal_contracts_give_equal_bytes_and_the_version_identifies_the_content(repository: Path) -> None:
    def version(contract: Contract) -> tuple[list[str], bytes]:
        (repository / "contract.json").write_text(contract.to_json(), encoding="utf-8")
        path, _ = build(repository, 4)
        return path.name.split("-")[1].split("."), path.read_bytes()

    (major, number, content), wheel = version(SAMPLE)
    assert (major, number) == ("1", "4")
    assert version(SAMPLE) == ([major, number, content], wheel)
    # A change that callers neither send nor receive changes nothing.
    assert version(replace(SAMPLE, columns=SAMPLE.request)) == ([major, number, content], wheel)
    other = replace(SAMPLE, columns=tuple(replace(column, unit="points") for column in SAMPLE.columns))
    assert version(other)[0][2] != content
    assert version(replace(SAMPLE, version=2))[0][:2] == ["2", "4"]


@pytest.mark.parametrize(
    ("model", "package"),
    [
        ("churn", "churn_client"),
        ("card-fraud", "card_fraud_client"),
        ("Card..Fraud_2", "card_fraud_2_client"),
        ("3d", "model_3d_client"),
        ("größe", "gr_e_client"),
        ("---", "model_client"),
        ("class", "class_client"),
    ],
)
def test_every_model_name_gives_a_package_that_can_be_imported(model: str, package: str) -> None:
    assert package_name(model) == package
    assert package.isidentifier()
    project = files(SAMPLE, model, "1.0.0")
    assert f"src/{package}/py.typed" in project
    compile(project["pyproject.toml"].split("```")[1].removeprefix("python"), "example", "exec")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "contract.json is missing"),
        (b"", "is not a contract"),
        (b"\xff", "is not a contract"),
        (b"[]", "is not a contract"),
        (b'{"x-version": 1}', "is not a contract"),
    ],
    ids=range(5),
)
def test_there_is_no_client_without_a_valid_contract(
    repository: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, problem: str
) -> None:
    path = repository / "contract.json"
    path.unlink() if content is None else path.write_bytes(content)
    assert cli.main(["client"]) == 1
    error = capsys.readouterr().err
    assert problem in error
    assert "make contract" in error
    assert not (repository / "dist").exists()


def test_a_missing_or_failing_uv_is_reported(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(repository / "bin"))
    assert cli.main(["client"]) == 1
    assert "uv is not on the PATH" in capsys.readouterr().err
    local = repository / ".uv/bin/uv"
    local.parent.mkdir(parents=True)
    local.write_text("#!/bin/sh\necho too old >&2\nexit 2\n", encoding="utf-8")
    local.chmod(0o755)
    assert cli.main(["client"]) == 1
    assert "uv could not build the client: too old" in capsys.readouterr().err


def test_a_negative_build_and_a_folder_without_a_project_are_refused(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["client", "--build", "-1"]) == 1
    (repository / "pyproject.toml").unlink()
    assert cli.main(["client"]) == 1
    assert "does not name the project" in capsys.readouterr().err

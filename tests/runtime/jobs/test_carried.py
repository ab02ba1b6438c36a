"""A version as one file: it arrives as it was exported, or nothing arrives."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle import jobs
from lifecycle.cli import main
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import open_version
from lifecycle.storage import Store
from support.storages import Storage


@pytest.fixture
def exported(storage: Storage, tmp_path: Path) -> Path:
    """A file with one version."""
    jobs.export(storage.store, storage.publish().version, tmp_path / "bundle.zip")
    return tmp_path / "bundle.zip"


def test_a_version_arrives_in_another_storage_as_it_was(storage: Storage, exported: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    version = jobs.bring(other, exported)
    before = open_version(storage.store, version)
    assert open_version(other, version).facts == before.facts
    jobs.export(other, version, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == exported.read_bytes()
    assert jobs.bring(other, exported) == version
    assert [path.name for path in other.bundles.iterdir()] == [version]


def changed(content: bytes, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        files = {name: old.read(name) for name in old.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, text in change(files).items():
            new.writestr(name, text)
    return buffer.getvalue()


def renamed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace("20260101", "20260102"): text for name, text in files.items()}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda content: content[: len(content) // 2], "not a zip file"),
        (lambda content: b"", "not a zip file"),
        (lambda content: content[:200] + bytes([content[200] ^ 255]) + content[201:], "Error|Bad|invalid|distance"),
        (lambda content: changed(content, lambda files: {}), "not a file of"),
        (lambda content: changed(content, lambda files: files | {"../evil": b"x"}), "not a file of"),
        (
            lambda content: changed(content, lambda files: files | {f"{next(iter(files))}/../../x": b""}),
            "not a file of",
        ),
        (lambda content: changed(content, lambda files: {**files, next(iter(files)): b"x"}), "cannot be read|changed"),
        (lambda content: changed(content, lambda files: dict([*files.items()][1:])), "lacks|no bundle.json"),
        (lambda content: changed(content, renamed), "has the version"),
    ],
)
def test_a_damaged_file_adds_nothing(
    exported: Path, tmp_path: Path, damage: Callable[[bytes], bytes], problem: str
) -> None:
    exported.write_bytes(damage(exported.read_bytes()))
    other = Store(tmp_path / "other")
    with pytest.raises(LifecycleError, match=f"holds no valid bundle: .*({problem})"):
        jobs.bring(other, exported)
    assert [*other.bundles.iterdir()] == []
    assert not (tmp_path / "evil").exists()


def test_the_commands_name_what_is_missing(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bundle", "import", "--file", "none.zip"]) == 1
    assert "none.zip" in capsys.readouterr().err
    assert main(["bundle", "export", "--file", "bundle.zip"]) == 1
    assert "holds no version" in capsys.readouterr().err
    version = storage.publish().version
    assert main(["bundle", "export", version, "--file", "missing/bundle.zip"]) == 0
    assert "`make bundle IMPORT=missing/bundle.zip ENVIRONMENT=…` adds" in capsys.readouterr().out
    monkeypatch.setenv("LIFECYCLE_STORAGE", "production")
    assert main(["bundle", "--environment", "production", "import", "--file", "missing/bundle.zip"]) == 0
    assert f"`make promote VERSION={version} ENVIRONMENT=production`" in capsys.readouterr().out

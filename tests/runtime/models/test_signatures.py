"""Signatures of bundles: where keys are trusted, only a version that one of them has signed is loaded."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from nacl.signing import SigningKey

from lifecycle import jobs
from lifecycle.cli import main
from lifecycle.errors import LifecycleError
from lifecycle.models import SIGNATURE
from lifecycle.models.bundle import Bundle, BundleError, open_version, verify
from lifecycle.serving.app import create
from lifecycle.settings import SIGNING_KEY, load
from lifecycle.storage import Store
from support import buckets
from support.processes import ROW
from support.rendering import TEMPLATE
from support.services import KNOWN, QUICK, eventually
from support.storages import Storage
from support.tools import needs

PAGE = (TEMPLATE / "lifecycle/docs/deploying.md").read_text(encoding="utf-8")
OWN, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(32))


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


TRUSTED = (text(bytes(OTHER.verify_key)), text(bytes(OWN.verify_key)))


def trusting(store: Store) -> Store:
    return replace(store, trusted_keys=TRUSTED)


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training has the private key of the second trusted key."""
    monkeypatch.setenv(SIGNING_KEY, text(bytes(OWN)))


@pytest.fixture
def signed(signing: None, storage: Storage) -> Bundle:
    return storage.publish()


def edit(path: Path) -> None:
    """Change the model and its hash, as an attacker who may write to the storage does."""
    facts = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(facts | {"threshold": 0.0}))


def test_what_training_signs_is_loaded_where_its_key_is_trusted(signed: Bundle, storage: Storage) -> None:
    assert open_version(trusting(storage.store), signed.version).facts == signed.facts
    # The signature is no part of the version, and is not required where no key is trusted.
    (signed.path / SIGNATURE).unlink()
    assert open_version(storage.store, signed.version).facts == signed.facts


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: (path / SIGNATURE).unlink(), "is not signed"),
        (lambda path: (path / SIGNATURE).write_bytes(b""), "is not signed"),
        (lambda path: (path / SIGNATURE).write_bytes(bytes(64)), "is not signed"),
        (edit, "is not signed"),
        (lambda path: (path / "model.skops").write_bytes(b"x"), "holds a changed model.skops"),
        (lambda path: (path / "more.txt").write_bytes(b"x"), "holds more.txt, which"),
        (lambda path: (path / "more").symlink_to("/usr"), "holds more, which"),
    ],
)
def test_a_version_that_is_not_signed_or_was_changed_is_refused(
    signed: Bundle, storage: Storage, damage: Callable[[Path], object], problem: str
) -> None:
    damage(signed.path)
    with pytest.raises(BundleError, match=problem):
        open_version(trusting(storage.store), signed.version)


def test_a_signature_of_another_key_or_of_another_version_is_refused(
    storage: Storage, signed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = storage.publish(made="20260102T000000")
    shutil.copy(signed.path / SIGNATURE, other.path / SIGNATURE)
    monkeypatch.setenv(SIGNING_KEY, text(b"another key, which is not known."))
    unknown = storage.publish(made="20260103T000000")
    for version in (other.version, unknown.version):
        with pytest.raises(BundleError, match="is not signed by one of the keys in trusted_keys"):
            open_version(trusting(storage.store), version)


def test_the_service_does_not_start_with_a_version_that_is_not_signed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.deploy(storage.publish())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/base.yaml").write_text(json.dumps({"trusted_keys": TRUSTED}))
    assert main(["serve", "--port", "0"]) == 1
    printed = capsys.readouterr().err
    assert "is not signed by one of the keys in trusted_keys\n  Run `make bundle SIGN=1 VERSION=2026" in printed
    assert "Traceback" not in printed


def test_the_service_keeps_the_version_before_until_the_new_one_is_signed(
    storage: Storage, signed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.fill(signed, KNOWN)
    storage.deploy(signed)
    with TestClient(create(trusting(storage.store), "local", QUICK)) as client:
        monkeypatch.delenv(SIGNING_KEY)
        storage.deploy(new := storage.publish(made="20260102T000000"))
        eventually(lambda: "is not signed" in client.get("/info").json()["pending"])
        assert client.post("/predict", json=ROW).headers["x-model-version"] == signed.version
        signature = OWN.sign((new.path / "bundle.json").read_bytes()).signature
        (new.path / SIGNATURE).write_bytes(signature)
        eventually(lambda: client.get("/readyz").json()["version"] == new.version)


def test_a_signature_travels_with_the_file_and_a_file_without_one_adds_nothing(
    storage: Storage, signed: Bundle, tmp_path: Path
) -> None:
    other, file = Store(tmp_path / "other", trusted_keys=TRUSTED), tmp_path / "bundle.zip"
    jobs.export(storage.store, signed.version, file)
    assert jobs.bring(other, file) == signed.version
    shutil.rmtree(other.bundles / signed.version)
    (signed.path / SIGNATURE).unlink()
    jobs.export(storage.store, signed.version, file)
    with pytest.raises(LifecycleError, match=r"holds no valid bundle: .* is not signed .*\n.*signed where"):
        jobs.bring(other, file)
    assert [*other.bundles.iterdir()] == []


def test_an_older_version_is_signed_by_a_command_and_its_signature_reaches_the_bucket(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Storage(buckets.store(tmp_path / "a", bucket), tmp_path / "drafts")
    with own.store.synchronised():
        version = own.publish().version
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_STORAGE", bucket)
    monkeypatch.setenv("LIFECYCLE_TRUSTED_KEYS", json.dumps(TRUSTED))
    assert main(["bundle", "sign", version]) == 1
    assert f"error: the variable {SIGNING_KEY} is not set" in capsys.readouterr().err
    monkeypatch.setenv(SIGNING_KEY, text(bytes(OWN)))
    assert main(["bundle", "sign", version]) == 0
    assert capsys.readouterr().out == f"{version} is signed\n"
    assert open_version(trusting(buckets.store(tmp_path / "b", bucket)), version)
    assert open_version(trusting(own.store), version)


@pytest.mark.parametrize("key", ["", text(b"another key, which is not known.")])
def test_where_a_key_is_trusted_nothing_is_trained_that_it_does_not_sign(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(SIGNING_KEY, key)
    own = replace(storage, store=trusting(storage.store))
    with pytest.raises(BundleError, match=f"no key in trusted_keys signs this version.*\n.*Set {SIGNING_KEY}"):
        own.publish()
    assert own.store.versions() == []


@pytest.mark.parametrize("key", ["s3cret", text(bytes(31)), "ä"])
def test_what_is_not_a_private_key_is_a_message_without_it(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(SIGNING_KEY, key)
    with pytest.raises(LifecycleError, match=f"the variable {SIGNING_KEY} is not a private key") as error:
        storage.publish()
    assert key not in str(error.value)
    assert storage.store.versions() == []


def test_the_private_key_is_no_setting_and_a_public_key_must_be_one(tmp_path: Path) -> None:
    loaded = load(tmp_path, environ={SIGNING_KEY: text(bytes(OWN)), "LIFECYCLE_TRUSTED_KEYS": json.dumps(TRUSTED)})
    assert text(bytes(OWN)) not in "".join(loaded.lines())
    assert loaded.settings.store.trusted_keys == TRUSTED
    with pytest.raises(LifecycleError, match=r"LIFECYCLE_TRUSTED_KEYS: trusted_keys: String should match"):
        load(tmp_path, environ={"LIFECYCLE_TRUSTED_KEYS": "[YWJj]"})


def test_a_signature_needs_its_package(storage: Storage, signed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nacl.signing", None)
    with pytest.raises(LifecycleError, match=r'needs the package pynacl\n  Run `uv add .*\[signing\]"`'):
        open_version(trusting(storage.store), signed.version)


@needs("openssl")
def test_the_keys_that_the_page_makes_sign_as_openssl_does(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands = [line for line in PAGE.splitlines() if line.startswith("openssl ")]
    assert len(commands) == 5
    _, _, private, public = (shell(command, tmp_path) for command in commands[:4])
    monkeypatch.setenv(SIGNING_KEY, private)
    bundle = storage.publish()
    assert verify(bundle.path, (public,))
    (tmp_path / "signing.pem").unlink()
    for name in ("bundle.json", SIGNATURE):
        shutil.copy(bundle.path / name, tmp_path)
    assert "Verified Successfully" in shell(commands[4], tmp_path)


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(command.partition("  #")[0], shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

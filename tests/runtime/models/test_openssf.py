"""Signatures by the OpenSSF Model Signing specification, with its library, which runs in an environment of its own."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import interop
import pytest
from pydantic import ValidationError

from lifecycle.models import OPENSSF, PEM
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.settings import Settings
from support.rendering import TEMPLATE, tool
from support.storages import Storage

# Whether the service starts with each storage that trusts a key.
START = """
import json, sys
from lifecycle.errors import LifecycleError
from lifecycle.serving.app import create
from lifecycle.settings import Serve, Settings

for folder, key in json.load(sys.stdin):
    try:
        create(Settings(storage=folder, trusted_keys=[key]).store, "local", Serve())
        print(json.dumps(""))
    except LifecycleError as error:
        print(json.dumps(error.problem))
"""


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """starts((storage, key), …): why a service of each does not start, or nothing."""
    monkeypatch.setenv("UV", tool("uv"))

    def run(*cases: tuple[Path, str]) -> list[str]:
        lifecycle = ("--with-editable", f"{TEMPLATE / 'lifecycle'}[serve,skops,openssf]")
        command = (tool("uv"), "run", "--quiet", "--isolated", "--no-project", *lifecycle, "python", "-c", START)
        given = json.dumps([(str(folder), key) for folder, key in cases])
        done = subprocess.run(command, input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('"')]

    return run


def statement(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the signed statement of a signature."""
    signature = json.loads(path.read_text())
    signed = json.loads(base64.b64decode(signature["dsseEnvelope"]["payload"]))
    change(signed)
    signature["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(signed).encode()).decode()
    path.write_text(json.dumps(signature))


def lacking(path: Path, name: str) -> None:
    signature = json.loads(path.read_text())
    del signature[name]
    path.write_text(json.dumps(signature))


# As the vectors of the specification that must fail, and attacks on a storage.
DEFECTS: dict[str, Callable[[Path], object]] = {
    "no signature": lambda folder: (folder / OPENSSF).unlink(),
    "empty": lambda folder: (folder / OPENSSF).write_text(""),
    "missing envelope": lambda folder: lacking(folder / OPENSSF, "dsseEnvelope"),
    "missing verification material": lambda folder: lacking(folder / OPENSSF, "verificationMaterial"),
    "wrong predicate": lambda folder: statement(folder / OPENSSF, lambda signed: signed.update(predicateType="x")),
    "other files": lambda folder: statement(folder / OPENSSF, lambda signed: signed["predicate"].update(resources=[])),
    "changed facts": lambda folder: (folder / "bundle.json").write_text((folder / "bundle.json").read_text() + " "),
    "added file": lambda folder: (folder / "other.txt").touch(),
}


@pytest.fixture
def signed(storage: Storage, bundle: Bundle, starts: object) -> tuple[Path, str]:
    """A storage whose deployed version is signed, and the public key."""
    return storage.store.root, interop.read("sign", bundle.path)


@pytest.mark.slow
def test_only_what_a_trusted_key_has_signed_is_served(
    signed: tuple[Path, str], bundle: Bundle, starts: Callable[..., list[str]], tmp_path: Path
) -> None:
    root, key = signed
    copies = {name: Path(shutil.copytree(root, tmp_path / name)) for name in DEFECTS}
    for name, copy in copies.items():
        DEFECTS[name](copy / "bundles" / bundle.version)
    other = interop.read("sign", Path(shutil.copytree(bundle.path, tmp_path / "other")))
    found = starts((root, key), (root, other), *((copy, key) for copy in copies.values()))
    assert found[0] == ""
    refused = dict(zip(("another key", *copies), found[1:], strict=True))
    assert {name for name, problem in refused.items() if "is not signed by one of the keys" not in problem} == set()


def test_a_public_key_in_pem_is_a_setting_and_a_private_one_is_not() -> None:
    public = f"{PEM}\nMFkw\n-----END PUBLIC KEY-----\n"
    assert Settings(trusted_keys=[public]).trusted_keys == (public,)
    with pytest.raises(ValidationError):
        Settings(trusted_keys=[public.replace("PUBLIC", "PRIVATE")])


def test_a_signature_is_not_an_unlisted_file_of_a_bundle(storage: Storage, bundle: Bundle) -> None:
    (bundle.path / OPENSSF).write_text("{}")
    assert open_version(storage.store, bundle.version).version == bundle.version

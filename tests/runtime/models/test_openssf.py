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

# Whether each folder is signed by a key.
SIGNED = """
import json, sys
from pathlib import Path
from lifecycle.models import is_signed

for folder, key in json.load(sys.stdin):
    print(json.dumps(is_signed(Path(folder), b"", (key,))))
"""
# Those that name a person are left out: valid/sigstore and invalid/missing-tlog-entries.
VECTORS = json.loads(Path(__file__).with_name("openssf_vectors.json").read_text(encoding="utf-8"))


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """starts((storage, key), …): why a service of each does not start, or nothing."""
    monkeypatch.setenv("UV", tool("uv"))

    def run(*cases: tuple[Path, str]) -> list[str]:
        return [json.loads(line) for line in run_with_library(START, *cases) if line.startswith('"')]

    return run


def run_with_library(code: str, *cases: tuple[Path, str]) -> list[str]:
    """Return the lines that code prints of folders and keys, where the library is installed."""
    lifecycle = ("--with-editable", f"{TEMPLATE / 'lifecycle'}[serve,skops,openssf]")
    command = (tool("uv"), "run", "--quiet", "--isolated", "--no-project", *lifecycle, "python", "-c", code)
    given = json.dumps([(str(folder), key) for folder, key in cases])
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


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


@pytest.mark.slow
def test_of_the_vectors_of_the_specification_the_one_that_a_key_has_signed_is_accepted(tmp_path: Path) -> None:
    for name, text in VECTORS["vectors"].items():
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file, content in (VECTORS["files"] | {OPENSSF: text}).items():
            (folder / file).write_text(content)
    found = run_with_library(SIGNED, *((tmp_path / name, VECTORS["key"]) for name in VECTORS["vectors"]))
    # The other valid one is signed with a certificate, which cannot be configured.
    assert found == ["true" if name == "valid/key" else "false" for name in VECTORS["vectors"]]


def test_a_public_key_in_pem_is_a_setting_and_a_private_one_is_not() -> None:
    public = f"{PEM}\nMFkw\n-----END PUBLIC KEY-----\n"
    assert Settings(trusted_keys=[public]).trusted_keys == (public,)
    with pytest.raises(ValidationError):
        Settings(trusted_keys=[public.replace("PUBLIC", "PRIVATE")])


def test_a_signature_is_not_an_unlisted_file_of_a_bundle(storage: Storage, bundle: Bundle) -> None:
    (bundle.path / OPENSSF).write_text("{}")
    assert open_version(storage.store, bundle.version).version == bundle.version

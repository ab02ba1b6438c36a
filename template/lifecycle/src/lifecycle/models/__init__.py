"""Model bundles, and what converts, loads and runs them; here: the signatures of a bundle.

Ours is an Ed25519 signature of `bundle.json`, which holds the hash of every other file. The one of the OpenSSF Model
Signing specification, by an ECDSA key in PEM, lists all files; others write it, and it is verified here.
"""

import base64
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

from lifecycle.errors import LifecycleError
from lifecycle.settings import SIGNING_KEY

SIGNATURE, OPENSSF = "bundle.sig", "model.sig"
PEM = "-----BEGIN PUBLIC KEY-----"


def sign(folder: Path) -> bool:
    """Sign the bundle in a folder with the private key in LIFECYCLE_SIGNING_KEY; return False where it is not set."""
    if not (text := os.environ.get(SIGNING_KEY)):
        return False
    nacl = _library(is_own=True)
    try:
        key = nacl.SigningKey(base64.b64decode(text, validate=True))
    except ValueError:
        hint = "It is 32 bytes in Base64: lifecycle/docs/deploying.md shows how to make one."
        raise LifecycleError(f"the variable {SIGNING_KEY} is not a private key", hint) from None
    (folder / SIGNATURE).write_bytes(key.sign((folder / "bundle.json").read_bytes()).signature)
    return True


def is_signed(folder: Path, content: bytes, keys: tuple[str, ...]) -> bool:
    """Return whether the folder holds a signature of `content`, its `bundle.json`, by one of the public keys."""
    return any(_has_signed(key, folder, content) for key in keys)


def _has_signed(key: str, folder: Path, content: bytes) -> bool:
    is_own, names = not key.startswith(PEM), [folder / SIGNATURE, folder / OPENSSF]
    library = _library(is_own)
    # What is not a signature has an exception of its own in each library.
    with contextlib.suppress(Exception), tempfile.NamedTemporaryFile("w") as file:
        if is_own:
            library.VerifyKey(base64.b64decode(key)).verify(content, names[0].read_bytes())
            return True
        file.write(key)
        file.flush()
        config = library.verifying.Config().use_elliptic_key_verifier(public_key=Path(file.name))
        config.set_hashing_config(library.hashing.Config().set_ignored_paths(paths=names)).verify(folder, names[1])
        return True
    return False


def _library(is_own: bool) -> Any:
    try:
        if is_own:
            import nacl.signing

            return nacl.signing
        import model_signing
    except ImportError:
        package, extra = ("pynacl", "signing") if is_own else ("model-signing", "openssf")
        hint = f'Run `uv add --group lifecycle "looseleaf-lifecycle[{extra}]"`.'
        raise LifecycleError(f"a signature needs the package {package}", hint) from None
    return model_signing

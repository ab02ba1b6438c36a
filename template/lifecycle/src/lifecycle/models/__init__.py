"""Model bundles, and what converts, loads and runs them; here: the signature of a bundle.

It is an Ed25519 signature of `bundle.json`, which holds the hash of every other file.
"""

import base64
import contextlib
import os
from pathlib import Path
from typing import Any

from lifecycle.errors import LifecycleError
from lifecycle.settings import SIGNING_KEY

SIGNATURE = "bundle.sig"


def sign(folder: Path) -> bool:
    """Sign the bundle in a folder with the private key in LIFECYCLE_SIGNING_KEY; return False where it is not set."""
    if not (text := os.environ.get(SIGNING_KEY)):
        return False
    nacl = _nacl()
    try:
        key = nacl.signing.SigningKey(base64.b64decode(text, validate=True))
    except ValueError:
        hint = "It is 32 bytes in Base64: lifecycle/docs/deploying.md shows how to make one."
        raise LifecycleError(f"the variable {SIGNING_KEY} is not a private key", hint) from None
    (folder / SIGNATURE).write_bytes(key.sign((folder / "bundle.json").read_bytes()).signature)
    return True


def is_signed(folder: Path, content: bytes, keys: tuple[str, ...]) -> bool:
    """Return whether the folder holds a signature of `content` by one of the public keys."""
    nacl, path = _nacl(), folder / SIGNATURE
    for key in keys if path.is_file() else ():
        # A ValueError is a signature of another length.
        with contextlib.suppress(nacl.exceptions.BadSignatureError, ValueError):
            nacl.signing.VerifyKey(base64.b64decode(key)).verify(content, path.read_bytes())
            return True
    return False


def _nacl() -> Any:
    try:
        import nacl.exceptions
        import nacl.signing
    except ImportError:
        hint = 'Run `uv add --group lifecycle "looseleaf-lifecycle[signing]"`.'
        raise LifecycleError("a signature needs the package pynacl", hint) from None
    return nacl

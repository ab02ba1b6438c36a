"""Byte code that environments share: uv links the files of a package from its cache, with byte code that lies there."""

import contextlib
import os
import sys
from pathlib import Path


def share(cache: Path, packages: Path) -> int:
    """Link the byte code of an environment into the cache of uv, and return for how many modules.

    `packages` is the folder of the environment's packages. Python compares size and time of a module with those in its
    byte code, and they are the same because uv links the modules, too. Without links, nothing is shared.
    """
    archives = {path.stat().st_ino: path.parents[1] for path in cache.glob("archive-*/*/*.dist-info/METADATA")}
    shared = 0
    for metadata in packages.glob("*.dist-info/METADATA"):
        archive = archives.get(metadata.stat().st_ino)
        record = (metadata.parent / "RECORD").read_text(encoding="utf-8").splitlines() if archive else ()
        # Modules that are no package share a folder.
        for folder in {Path(line.split(",")[0]).parent for line in record if ".py," in line} - {Path()}:
            for compiled in (packages / folder / "__pycache__").glob(f"*.{sys.implementation.cache_tag}.pyc"):
                linked = Path(archive or "", folder, "__pycache__", compiled.name)
                with contextlib.suppress(OSError):
                    linked.parent.mkdir(exist_ok=True)
                    os.link(compiled, linked)
                    shared += 1
    return shared

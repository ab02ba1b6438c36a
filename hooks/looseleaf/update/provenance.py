"""`looseleaf provenance`: compare the template's zone of a repository with the release that it records.

`make check` compares with the hashes in `lifecycle/manifest.json`, which a change can replace together with a file.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from looseleaf.errors import NEEDS_A_PERSON, UpdateError
from looseleaf.update.source import ANSWERS_FILE, Source, choices_in, recorded
from looseleaf.update.trees import is_same, render, tracked

ZONE = "lifecycle/"
# Teams may delete these, and may have others in the same folder.
OTHERS = (".github/workflows/lifecycle", "uv.toml")


def run(root: Path) -> int:
    """Compare the repository; returns 0 if it is as released, 3 if it differs, 1 if it could not be compared."""
    try:
        with tempfile.TemporaryDirectory(prefix="looseleaf-provenance-") as work:
            content = recorded(root)
            source = Source.fetch(content, root, Path(work) / "template")
            commit = source.commit(str(content["_commit"]))
            released = render(source, commit, choices_in(content), Path(work) / "render")
            found = list(differences(tracked(root), released))
            release = f"{source.label(commit)} of {source.address}"
    except (UpdateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: git {error.cmd[3]}: {' '.join(str(error.stderr).split())}", file=sys.stderr)
        return 1
    if found:
        lines = "\n  ".join(found)
        hint = "Restore them (git log -- FILE shows the change); changes belong outside lifecycle/."
        print(f"These files differ from {release}, which {ANSWERS_FILE} records:\n  {lines}\n{hint}", file=sys.stderr)
        return NEEDS_A_PERSON
    print(f"lifecycle/ is that of {release}.")
    return 0


def differences(now: Mapping[str, bytes], released: Mapping[str, bytes]) -> Iterator[str]:
    """Yield each file of the template's zone that differs, with how; both are contents by path."""
    for name in sorted({*now, *released}):
        if name in now and name in released:
            if name.startswith((ZONE, *OTHERS)) and not is_same(now[name], released[name]):
                yield f"{name} (changed)"
        elif name.startswith(ZONE):
            yield f"{name} ({'added' if name in now else 'missing'})"

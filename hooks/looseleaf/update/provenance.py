"""`looseleaf provenance`: compare the template's zone of a repository with the release that it records.

`make check` compares with the hashes in `lifecycle/manifest.json`, which a change can replace together with a file.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from looseleaf.errors import NEEDS_A_PERSON, UpdateError
from looseleaf.send import WORKFLOWS
from looseleaf.update.offers import ZONE
from looseleaf.update.source import ANSWERS_FILE, Source, choices_in, recorded
from looseleaf.update.trees import is_same, render, tracked

# A team may delete these files; files next to them may be the team's.
OTHERS = (*WORKFLOWS, "uv.toml")


def run(root: Path) -> int:
    """Compare the repository; returns 0 if it is as released, 3 if it is not, 1 if the template is not reachable."""
    try:
        content = recorded(root)
        with tempfile.TemporaryDirectory(prefix="looseleaf-provenance-") as work:
            try:
                source = Source.fetch(content, root, Path(work) / "template")
            except UpdateError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            commit = source.commit(str(content["_commit"]))
            released = render(source, commit, choices_in(content), Path(work) / "render")
            found = list(differences(tracked(root), released))
            release = f"{source.label(commit)} of {source.address}"
    except (UpdateError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return NEEDS_A_PERSON
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(str(error.stderr).split())}", file=sys.stderr)
        return NEEDS_A_PERSON
    if found:
        lines = "\n  ".join(found)
        hint = "Restore them (git log -- FILE shows the change); changes belong outside lifecycle/."
        print(f"These files differ from {release}, which {ANSWERS_FILE} records:\n  {lines}\n{hint}", file=sys.stderr)
        return NEEDS_A_PERSON
    print(f"lifecycle/ is identical to {release}.")
    return 0


def differences(now: Mapping[str, bytes], released: Mapping[str, bytes]) -> Iterator[str]:
    """Yield each file of the template's zone that differs, with how; both are contents by path."""
    for name in sorted({*now, *released}):
        if name in now and name in released:
            if name.startswith((ZONE, *OTHERS)) and not is_same(now[name], released[name]):
                yield f"{name} (changed)"
        elif name.startswith(ZONE):
            yield f"{name} ({'added' if name in now else 'missing'})"

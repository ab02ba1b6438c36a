"""Write docs/proof.md from the results of mutation, deletion sweep and soak test. Last step of `make proof`."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from looseleaf.snapshot import git
from support.rendering import ROOT

BUILD = ROOT / "build"
PAGE = ROOT / "docs/proof.md"


def page(
    mutation: dict[str, Any], sweep: dict[str, Any], soak: dict[str, Any], loop: list[str], commit: str, date: str
) -> str:
    """Return docs/proof.md."""
    detected, mutants = (sum(each[key] for each in mutation.values()) for key in ("detected", "mutants"))
    missed = [name for name, test in sweep["files"].items() if not test]
    rows = [f"| `{name}` | {each['detected']} | {each['mutants']} |" for name, each in mutation.items()]
    return "\n".join(
        [
            "# Proof",
            "",
            f"Written by `make proof` on {date}, of commit {commit}.",
            "",
            "## Mutation",
            "",
            f"mutmut changed the modules that decide something; tests detect {detected} of {mutants} mutants.",
            "",
            "| module | detected | mutants |",
            "|---|--:|--:|",
            *rows,
            "",
            "## Deletion sweep",
            "",
            f"Each of {len(sweep['files'])} template files was deleted in turn. No test failed without: "
            + (", ".join(f"`{name}`" for name in missed) or "none of them")
            + ".",
            "",
            "## Soak test",
            "",
            *(
                line
                for name, lines in soak["figures"].items()
                for line in (f"{name}:", "", *(f"- {each}" for each in lines), "")
            ),
            "Exceeded bounds: " + ("; ".join(soak["faults"]) or "none") + ".",
            "",
            "## Simulated years",
            "",
            "The commands of a repository learn a change, compared with an oracle (`tests/support/loop.py`):",
            "",
            *(f"- {line}" for line in loop),
            "",
        ]
    )


def main() -> int:
    """Write the page; returns 1 if a result is missing."""
    names = ("mutation", "proof", "soak", "loop")
    missing = [name for name in names if not (BUILD / f"{name}.json").is_file()]
    if missing:
        print(f"build/ lacks {', '.join(missing)}: run `make proof`.", file=sys.stderr)
        return 1
    mutation, sweep, soak, loop = (json.loads((BUILD / f"{name}.json").read_text(encoding="utf-8")) for name in names)
    commit = git("rev-parse", "--short", "HEAD", folder=ROOT)
    PAGE.write_text(page(mutation, sweep, soak, loop, commit, f"{datetime.now(UTC):%Y-%m-%d}"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

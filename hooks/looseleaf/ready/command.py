"""`looseleaf ready`: the ML Test Score of the deployed version, in the terminal and as build/ready/readiness.html."""

import sys
from dataclasses import asdict
from pathlib import Path

import jinja2
from tabulate import tabulate

from lifecycle.errors import LifecycleError
from lifecycle.storage import write_atomically
from looseleaf.errors import NEEDS_A_PERSON
from looseleaf.ready import drills
from looseleaf.ready.evidence import OWN, Evidence, read
from looseleaf.ready.score import Score, evaluate

PAGE = OWN / "readiness.html"
WIDTH = 72


def run(environment: str, dry_run: bool = False) -> int:
    """Run missing drills (none with `dry_run`), evaluate, print and write the page.

    Returns 0 when the score reaches the limit `gate.readiness`, 3 when it does not, and 1 for an error.
    """
    try:
        evidence = read(Path.cwd(), environment)
        if not (dry_run or evidence.problem):
            drills.run(evidence)
            evidence = read(Path.cwd(), environment)
        score = evaluate(evidence)
        write_atomically(evidence.root / PAGE, page(evidence, score).encode())
    except (LifecycleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(evidence, score))
    return 0 if score.score >= evidence.settings.gate.readiness else NEEDS_A_PERSON


def table(evidence: Evidence, score: Score) -> str:
    """Return the rows, the sums and the score for the terminal; below each row that lost points is what earns them."""
    lines = [
        f"{evidence.version or 'no version'} in {evidence.environment}: {score.problem or 'the evidence about it'}"
    ]
    for section, title in score.sections.items():
        rows = [
            (f"{row.points:g}", row.id, f"{row.title}\n{row.text}" + (f"\n-> {row.command}" if row.command else ""))
            for row in score.rows
            if row.section == section
        ]
        lines += [f"\n{title}: {score.sum_of(section):g} of {len(rows)}"]
        lines += [
            tabulate(rows, ("points", "test", "evidence"), maxcolwidths=[None, None, WIDTH], disable_numparse=True)
        ]
    lines += [f"\nOpen in docs/agreement.md: {each}" for each in evidence.open_questions]
    limit = evidence.settings.gate.readiness
    lines += [f"\nML Test Score: {score.score:g} (the lowest sum; gate.readiness is {limit:g}). The page: {PAGE}"]
    return "\n".join(lines)


def page(evidence: Evidence, score: Score) -> str:
    """Return the self-contained HTML page."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("own")),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True,
    )  # fmt: skip
    rows = [asdict(row) for row in score.rows]
    return templates.get_template("readiness.html.j2").render(evidence=evidence, score=score, rows=rows)

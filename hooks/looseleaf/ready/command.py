"""`looseleaf ready`: the ML Test Score of the deployed version, in the terminal and as build/ready/readiness.html."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from tabulate import tabulate

from lifecycle import registry
from lifecycle.errors import LifecycleError
from lifecycle.storage import write_atomically
from looseleaf.errors import NEEDS_A_PERSON
from looseleaf.ready import drills
from looseleaf.ready.evidence import OWN, Evidence, read
from looseleaf.ready.score import Score, evaluate

PAGE, ANNEX = OWN / "readiness.html", OWN / "annex-iv.md"
WIDTH = 72


def run(environment: str, dry_run: bool = False, with_annex: bool = False) -> int:
    """Run missing drills (none with `dry_run`), evaluate, print and write the page, and `with_annex` the skeleton.

    Returns 0 when the score reaches the limit `gate.readiness`, 3 when it does not, and 1 for an error.
    """
    try:
        evidence = read(Path.cwd(), environment)
        # Repositories of older releases do not ignore build/.
        write_atomically(evidence.root / OWN.parent / ".gitignore", b"*\n")
        if not (dry_run or evidence.problem):
            drills.run(evidence)
            evidence = read(Path.cwd(), environment)
        score = evaluate(evidence)
        write_atomically(evidence.root / PAGE, page(evidence, score).encode())
    except (LifecycleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(evidence, score))
    if with_annex:
        write_atomically(evidence.root / ANNEX, annex(evidence, score).encode())
        print(f"A skeleton of Annex IV, with its gaps: {ANNEX}")
    return 0 if score.score >= evidence.settings.gate.readiness else NEEDS_A_PERSON


def table(evidence: Evidence, score: Score) -> str:
    """Return the rows, the sums and the score for the terminal; below each row that lost points is what earns them."""
    lines = [
        f"{evidence.version or 'no version'} in {evidence.environment}: {evidence.problem or 'the evidence about it'}"
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
    end = f"ML Test Score: {score.score:g} (the lowest sum; gate.readiness is {evidence.settings.gate.readiness:g})"
    return "\n".join([*lines, f"\n{end}. The page: {PAGE}"])


def page(evidence: Evidence, score: Score) -> str:
    """Return the self-contained HTML page."""
    return _render("readiness.html.j2", evidence=evidence, score=score, rows=[asdict(row) for row in score.rows])


def annex(evidence: Evidence, score: Score) -> str:
    """Return a skeleton of the technical documentation in Annex IV of Regulation (EU) 2024/1689, as Markdown.

    Its nine sections are filled from the bundle, the agreement and the logs; what they do not state is named as a gap.
    """
    cells = ([each.strip() for each in row.strip("|").split("|")] for _, row in registry.agreed_rows(evidence.root))
    agreed = {row[0]: "; ".join(each for each in row[1:] if each) for row in cells}
    rows = {row.id: row for row in score.rows}
    return _render("annex.md.j2", evidence=evidence, facts=evidence.facts, agreed=agreed, rows=rows)


def _render(name: str, **values: Any) -> str:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("own")), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=name.endswith(".html.j2"),
    )  # fmt: skip
    return templates.get_template(name).render(**values)

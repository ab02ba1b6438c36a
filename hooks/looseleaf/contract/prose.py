"""Rewrite the team's pages about the sample for another table: README.md and docs/agreement.md.

A section of README.md is recognised by a command or a path in it, so that its heading may change.
"""

import json
import re
from typing import Any

from looseleaf.contract.plan import Plan
from looseleaf.contract.texts import INLINE_FIELDS, REQUEST, TEXTS, printable, rendered

SAMPLE_SENTENCE = re.compile(r"It (runs now|works now|already works)[^.;]*sample[^.]*\.(?=\s)", re.DOTALL)
# Text that identifies a section of README.md, and the section of readme.md.j2 that replaces it.
REPLACED = {"curl -s": "predict", "make score DATE=": "score", "make contract DATA=": "own"}
CLIENT, LAYOUT = "_client import Client", "| `src/model/` |"
PASSAGES = (*REPLACED, CLIENT, LAYOUT)
EXAMPLE_CALL = re.compile(r"Row\(customer_id=[^)]*\)\)\.\w+")
# Sentences about customers in sections that are otherwise kept.
CUSTOMER_SENTENCE = re.compile(r"(?<=[.;:]\s)[^.;:|`]*\b(customers?|churns?)\b[^.;|`]*[.;]\s")


def sections(page: str) -> dict[str, str]:
    """Return the text below each heading of the second level; the key of the text before them is empty."""
    texts = {"": ""}
    heading = ""
    for line in page.splitlines(keepends=True):
        if line.startswith("## "):
            heading = line.removeprefix("## ").strip()
            texts[heading] = ""
        else:
            texts[heading] += line
    return texts


def readme(current: str, template: str, plan: Plan, file: str, command: str, request: dict[str, Any]) -> str:
    """Return README.md for a table: each section that is still that of the template is replaced."""
    body = json.dumps(request, ensure_ascii=False).replace("'", "\\u0027")
    argument = f"'{body}'" if len(request) <= INLINE_FIELDS else f"@{REQUEST}"
    page = rendered("readme.md", plan=plan, target=plan.target, file=file, command=command, argument=argument)
    ours = {name: text.strip() for name, text in sections(page).items()}
    old, parts = sections(template), []
    for heading, text in sections(current).items():
        if text == old.get(heading):
            text = _replaced(heading, text, ours)
        parts.append(f"## {heading}\n{text}" if heading else text)
    return "".join(parts)


def _replaced(heading: str, text: str, ours: dict[str, str]) -> str:
    """Return a section of the template's README.md for a table; `ours` has the replacements."""
    if not heading:
        return SAMPLE_SENTENCE.sub(lambda _: ours["sample"], text)
    if name := next((name for passage, name in REPLACED.items() if passage in text), None):
        return f"\n{ours[name]}\n\n"
    if CLIENT in text:
        return EXAMPLE_CALL.sub("Row(**row)).prediction", text)
    return _what_is_where(text) if LAYOUT in text else CUSTOMER_SENTENCE.sub("", text)


def agreement(body: str, plan: Plan) -> str:
    """Return docs/agreement.md with the errors of this target."""
    target = plan.target
    rows = (text.format(*map(printable, target.classes)) for text in TEXTS["mistakes"][target.task])
    body = re.sub(
        r"^\| (?:Said|Predicted) [^|]*\|", lambda row: f"| {next(rows, row[0].strip('| '))} |", body, flags=re.M
    )
    if target.task == "binary":
        return body
    return re.sub(r"^The threshold of a deployment.*?(?=^## |\Z)", "", body, flags=re.M | re.DOTALL)


def _what_is_where(body: str) -> str:
    body = re.sub(r" · `features\.sql`[^·|]*?(?= ·| \|)", "", body)
    body = re.sub(
        r"^(\| `tests/` \|).*$", r"\1 the data, the model's behaviour, and a defect for each gate |", body, flags=re.M
    )
    body = re.sub(r"^(\| `notebooks/[^|]*\|).*$", r"\1 a first look at the table and the model |", body, flags=re.M)
    body = body.replace("the sample's tables", "the table")
    report = "| `docs/contract-report.md` | what `make contract` found in the table, and what stays uncertain |\n"
    return body.replace("| `docs/agreement.md` |", f"{report}| `docs/agreement.md` |")

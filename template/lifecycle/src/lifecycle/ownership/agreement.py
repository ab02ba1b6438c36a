"""docs/agreement.md: whether product and data science have filled it."""

import re
from pathlib import Path

AGREEMENT = "docs/agreement.md"
_RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?\s*)?")


def open_questions(root: Path) -> list[str]:
    """Why the page is not filled, with lines: an empty cell beside the first one of a row; or no page, or no text."""
    path = root / AGREEMENT
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if not text.strip():
        return [f"{AGREEMENT} is {'empty' if path.is_file() else 'missing'}"]
    found, lines = [], text.splitlines()
    for number, line in enumerate(lines, 1):
        heads = number < len(lines) and _RULE.fullmatch(lines[number].strip())
        if line.lstrip().startswith("|") and not heads and not _RULE.fullmatch(line.strip()):
            first, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().removesuffix("|"))[1:])
            if not cells or not all(cells):
                found.append(f"{AGREEMENT}:{number}: still open: {first}")
    return found

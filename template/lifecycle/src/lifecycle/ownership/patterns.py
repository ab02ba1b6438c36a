"""The filters that mean the same to Prow, to GitHub and to GitLab: a folder, a file, files of the root, a suffix."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LITERAL = r"(?:[\w@~=,%-]|\\[.+-])+"
_PATH = rf"{_LITERAL}(?:/{_LITERAL})*"
_KINDS = {
    "folder": re.compile(rf"\^({_PATH}/)"),
    "file": re.compile(rf"\^({_PATH})\$"),
    "root": re.compile(r"\^(\[\^/\]\+)\$"),
    "suffix": re.compile(rf"(\\\.{_LITERAL})\$"),
}
CATCH_ALL = re.compile(r"\^?\(?(\.[*+]?)?\)?\$?")
# A name that no file has: it stands for any one.
ANY = "\0"


@dataclass(frozen=True)
class Pattern:
    """A filter as `kind` and the literal text that it looks for."""

    kind: str
    text: str

    def matches(self, path: str) -> bool:
        """Whether Prow applies the filter to a path relative to OWNERS."""
        if self.kind == "folder":
            return path.startswith(self.text)
        if self.kind == "suffix":
            return path.endswith(self.text)
        return path == self.text if self.kind == "file" else "/" not in path


def translate(regex: str) -> Pattern | None:
    """The pattern of a Prow filter; None for a regex that CODEOWNERS cannot say."""
    for kind, shape in _KINDS.items():
        if found := shape.fullmatch(regex):
            return Pattern(kind, re.sub(r"\\(.)", r"\1", found[1]))
    return None


Filters = Iterable[tuple[Pattern, tuple[str, ...]]]


def last_match_wins(filters: Filters) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Globs from general to specific, each with all approvers of what it covers: there, filters do not add up.

    Wherever two patterns can meet without one covering the other, their meeting has a line of its own. A glob for
    which nobody is named is left out: no more general one can name anybody either.
    """
    known = list(filters)
    texts = {kind: sorted({each.text for each, _ in known if each.kind == kind}, key=_size) for kind in _KINDS}
    places = [
        ("", f"{ANY}/{ANY}"),
        *[("/", ANY) for _ in texts["root"]],
        *((f"/{f}", f"{f}{ANY}") for f in texts["folder"]),
    ]
    for place, sample in places:
        for suffix in ["", *texts["suffix"]]:
            deep = "**/" if suffix and place not in ("", "/") else ""
            glob = place if not suffix and place != "/" else f"{place}{deep}*{suffix}"
            if glob and (named := _named(known, sample + suffix)):
                yield glob, named
    for name in texts["file"]:
        if named := _named(known, name):
            yield f"/{name}", named


def _named(filters: Filters, path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for pattern, names in filters if pattern.matches(path) for name in names))


def _size(text: str) -> tuple[int, str]:
    return len(text), text

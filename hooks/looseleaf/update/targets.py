"""Targets of make that a new release has and the team's Makefile defines, too. Nothing is run to find them."""

import re
from collections.abc import Iterator, Mapping

MAKEFILE = "lifecycle/lifecycle.mk"
RULE = re.compile(r"([\w./-]+(?: +[\w./-]+)*) *::?(?!=)")
INCLUDE = re.compile(r"-?include +(.+)")


def collisions(
    old: Mapping[str, bytes], new: Mapping[str, bytes], head: Mapping[str, bytes]
) -> Iterator[tuple[str, bool]]:
    """Yield each new target that the team's makefiles define, and whether the team's definition stays in effect.

    make uses the last definition: that of the team, if it is below the include of the template's makefile.
    """
    added = {name for name, _ in _targets(MAKEFILE, new)} - {name for name, _ in _targets(MAKEFILE, old)}
    theirs = dict(_targets("Makefile", {name: text for name, text in head.items() if name != MAKEFILE}))
    yield from ((name, theirs[name]) for name in sorted(added & theirs.keys()))


def _targets(name: str, files: Mapping[str, bytes], is_below: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the targets of a makefile and of those that it includes, and whether the template's was included before."""
    for line in files.get(name, b"").decode("utf-8", "replace").splitlines():
        if included := INCLUDE.match(line):
            for each in included[1].split():
                yield from _targets(each, {file: text for file, text in files.items() if file != name}, is_below)
                is_below = is_below or each == MAKEFILE
        elif (rule := RULE.match(line)) and not line.startswith("."):
            yield from ((target, is_below) for target in rule[1].split())

"""Targets of make that a new release has and the team's Makefile defines, too. Nothing is run to find them."""

import re
from collections.abc import Iterator, Mapping

MAKEFILE = "lifecycle/lifecycle.mk"
# A rule, and not the value of a variable for a target.
RULE = re.compile(r"([\w./-]+(?: +[\w./-]+)*) *::?(?!=)(?! *(?:export +|private +|override +)*[\w.-]+ *[:?+!]*=)")
INCLUDE = re.compile(r"-?include +(.+)")


def collisions(
    old: Mapping[str, bytes], new: Mapping[str, bytes], head: Mapping[str, bytes], are_theirs: bool
) -> list[str]:
    """Return new targets that the team's makefiles define, too, of which the team's or else the template's is used.

    make uses the last definition: that of the team, if it is below the include of the template's makefile.
    """
    added = dict(_targets(MAKEFILE, new)).keys() - dict(_targets(MAKEFILE, old)).keys()
    theirs = dict(_targets("Makefile", {name: text for name, text in head.items() if name != MAKEFILE}))
    return sorted(name for name in added & theirs.keys() if theirs[name] is are_theirs)


def _targets(name: str, files: Mapping[str, bytes], is_below: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the targets of a makefile and of those that it includes, and whether the template's was included before."""
    for line in files.get(name, b"").decode("utf-8", "replace").splitlines():
        if included := INCLUDE.match(line):
            for each in included[1].split():
                yield from _targets(each, {**files, name: b""}, is_below)
                is_below = is_below or each == MAKEFILE
        elif (rule := RULE.match(line)) and not line.startswith("."):
            yield from ((target, is_below) for target in rule[1].split())

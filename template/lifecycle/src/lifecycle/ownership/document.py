"""YAML that a stranger may have written: read with its lines, without running anything, in bounded time."""

from dataclasses import dataclass, replace
from typing import Any

import yaml

from lifecycle.errors import LifecycleError

MOST_BYTES = 65_536
MOST_VALUES = 10_000


@dataclass(frozen=True)
class Value:
    """A piece of a file: a mapping, a list, or the text of a scalar of that `kind`; and the line it begins in.

    Below a mapping, the line is the key's. Pieces that an alias repeats have one `node`.
    """

    line: int
    kind: str
    content: Any
    node: int


def parse(content: bytes, name: str) -> Value:
    """The pieces of a YAML file; raises LifecycleError naming the line that cannot be read."""
    if len(content) > MOST_BYTES:
        problem = f"{name}:1: {len(content):,} bytes are more than a person reads (at most {MOST_BYTES:,})"
        raise LifecycleError(problem, "Name folders instead of single files.")
    try:
        root = yaml.compose(content.decode("utf-8"), Loader=yaml.SafeLoader)
        if root is None:
            raise LifecycleError(f"{name}:1: it is empty", "lifecycle/docs/owners.md shows what stands in it.")
        return _Reader(name).value(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "Handles stand without the @." if "'@'" in str(error.problem) else "Fix that line."
        raise LifecycleError(f"{name}:{line}: it is not YAML: {error.problem}", hint) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = f"{name}:1: it is not YAML: {' '.join(str(error).split())}"
        raise LifecycleError(problem, "Write it as UTF-8 text.") from None
    except RecursionError:
        raise LifecycleError(f"{name}:1: it is nested too deeply", "Take the brackets away.") from None


class _Reader:
    """Follows each alias, so it counts: a few lines of aliases may stand for millions of values."""

    def __init__(self, name: str) -> None:
        self.name, self.left = name, MOST_VALUES

    def value(self, node: yaml.Node) -> Value:
        line = node.start_mark.line + 1
        self.left -= 1
        if self.left < 0:
            problem = f"{self.name}:{line}: its aliases stand for more than {MOST_VALUES:,} values"
            raise LifecycleError(problem, "Name folders instead of single files, and fewer aliases of aliases.")
        if isinstance(node, yaml.MappingNode):
            return Value(line, "mapping", self._mapping(node), id(node))
        if isinstance(node, yaml.SequenceNode):
            return Value(line, "list", [self.value(each) for each in node.value], id(node))
        return Value(line, node.tag.rpartition(":")[2], node.value, id(node))

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key, each in node.value:
            line, name = key.start_mark.line + 1, str(key.value) if isinstance(key, yaml.ScalarNode) else "a list"
            if name in found:
                problem = f"{self.name}:{line}: {name} stands here for a second time (first in line {found[name].line})"
                raise LifecycleError(problem, "Of two, YAML readers take one and say nothing: remove or join them.")
            found[name] = replace(self.value(each), line=line)
        return found

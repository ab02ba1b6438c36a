"""Read a notebook as cells of plain Python: Jupyter, Colab, the percent format of jupytext, and marimo."""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from lifecycle.errors import LifecycleError

# Cell magics whose body is Python.
TRANSPARENT = ("%%time", "%%timeit", "%%capture", "%%prun")
LINE = re.compile(r"^(?P<indent>\s*)(?P<command>(?:[\w,. ]+=\s*)?[%!].*|\?.*|[\w.]+\?{1,2})\s*$")
PERCENT = re.compile(r"^# %%(?P<rest>.*)$", re.M)
OLD = re.compile(r"^\s*print\s+[^(\s=]", re.M)


@dataclass(frozen=True)
class Cell:
    """A code cell. `number` counts code cells from 1; `skipped` lists magics and shell lines that do not run."""

    number: int
    code: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notebook:
    """The code of a notebook."""

    path: Path
    cells: tuple[Cell, ...]

    @property
    def skipped(self) -> list[str]:
        """The magics and shell lines that do not run, each with its cell."""
        return [f"cell {cell.number}: {line}" for cell in self.cells for line in cell.skipped]


class Source:
    """The code of a cell, addressed by the places of ast, whose columns are bytes of UTF-8."""

    def __init__(self, code: str) -> None:
        self._bytes = code.encode()
        self._starts = [0]
        for line in code.split("\n"):
            self._starts.append(self._starts[-1] + len(line.encode()) + 1)

    def offset(self, line: int, column: int) -> int:
        """Return the position of a place."""
        return self._starts[line - 1] + column

    def range(self, node: Any) -> tuple[int, int]:
        """Return first and last position of a node."""
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def text(self, start: int, end: int) -> str:
        """Return the text between two positions."""
        return self._bytes[start:end].decode()

    def of(self, node: Any) -> str:
        """Return the author's text of a node."""
        return self.text(*self.range(node))


def read(path: Path) -> Notebook:
    """Read a notebook; raises LifecycleError where it is none, has no code, or is not in Python 3."""
    if not path.is_file():
        raise LifecycleError(f"{path} is not a file", "Name a notebook (.ipynb), or a .py file with # %% cells.")
    try:
        sources = _from_python(path.read_text("utf-8")) if path.suffix == ".py" else _from_jupyter(path)
    except (UnicodeDecodeError, SyntaxError) as error:
        raise LifecycleError(f"{path.name} is not valid Python in UTF-8 ({error})", "Save it as UTF-8.") from error
    cells = tuple(_cell(number, source) for number, source in enumerate(sources, 1))
    for cell in cells:
        if OLD.search(cell.code) and _syntax_error(cell.code):
            raise _old(f"cell {cell.number} of {path.name}", "print without brackets")
    if not any(line.strip() not in ("", "pass") for cell in cells for line in cell.code.splitlines()):
        raise LifecycleError(f"{path.name} has no code", "Name the notebook that trains the model.")
    return Notebook(path.resolve(), cells)


def _from_jupyter(path: Path) -> list[str]:
    try:
        raw = json.loads(path.read_bytes())
        cells = raw["cells"] if "cells" in raw else raw["worksheets"][0]["cells"]
        # Outputs are not read: validating 200 MB of pictures would take minutes.
        for cell in cells:
            if cell.get("cell_type") == "code":
                cell["outputs"] = []
        notebook: Any = nbformat.convert(nbformat.from_dict(raw), 4)  # type: ignore[no-untyped-call]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, nbformat.ValidationError) as error:
        problem = f"{path.name} is not a notebook ({type(error).__name__}: {str(error)[:80]})"
        raise LifecycleError(problem, "Open it in Jupyter and save it again.") from error
    metadata = notebook.metadata
    kernel, info = metadata.get("kernelspec", {}), metadata.get("language_info", {})
    language = str(info.get("name") or kernel.get("language") or "python").lower()
    if language not in ("python", "ipython") or str(kernel.get("name", "")).lower() in ("ir", "julia"):
        raise LifecycleError(f"{path.name} is written in {language}", "Only notebooks in Python can be lifted.")
    written = str(info.get("version", ""))
    if written.startswith("2.") or kernel.get("name") == "python2":
        raise _old(path.name, written or "its kernel")
    return ["".join(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def _from_python(text: str) -> list[str]:
    if "marimo.App(" in text:
        return _from_marimo(text)
    header, *parts = PERCENT.split(text)
    # The first lines of a jupytext file are a comment with metadata.
    cells = [header] if re.sub(r"^#.*$", "", header, flags=re.M).strip() else []
    for title, code in zip(parts[::2], parts[1::2], strict=True):
        if not re.search(r"\[(markdown|md|raw)\]", title):
            cells.append(re.sub(r"^# (?=[%!])", "", code.strip("\n"), flags=re.M))
    return cells


def _from_marimo(text: str) -> list[str]:
    sources = []
    for node in ast.parse(text).body:
        marks = [*getattr(node, "decorator_list", ()), *getattr(node, "items", ())]
        if any(re.match(r"app\.(cell|setup)", ast.unparse(each)) for each in marks):
            body = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)]
            sources.append("\n".join(ast.unparse(each) for each in body if not isinstance(each, ast.Return)))
    return sources


def _cell(number: int, source: str) -> Cell:
    first, _, rest = source.lstrip().partition("\n")
    if first.startswith("%%"):
        if not first.startswith(TRANSPARENT):
            return Cell(number, "", (first,))
        inner = _cell(number, rest)
        return Cell(number, "\n" + inner.code, (first, *inner.skipped))
    # A last line of one semicolon hides the output in Jupyter.
    source = re.sub(r"\n\s*;\s*$", "\n", source)
    lines: list[str] = []
    skipped: list[str] = []
    for line in source.split("\n"):
        found = LINE.match(line)
        if found and not _continues("\n".join(lines)):
            skipped.append(found["command"].strip())
            line = f"{found['indent']}pass"
        lines.append(line)
    return Cell(number, "\n".join(lines), tuple(skipped))


def _continues(before: str) -> bool:
    """Whether the next line is inside of a string or an expression, where `%` is Python's own operator."""
    error = _syntax_error(before)
    return before.endswith("\\") or "was never closed" in error or "unterminated triple-quoted" in error


def _syntax_error(code: str) -> str:
    try:
        ast.parse(code)
    except SyntaxError as error:
        return str(error)
    return ""


def _old(where: str, reason: str) -> LifecycleError:
    hint = "Convert it with 2to3 and run it with Python 3 first."
    return LifecycleError(f"{where} is written in Python 2 ({reason})", hint)

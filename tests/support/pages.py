"""Code blocks of a page, and code with the functions of a block."""

import ast
import re


def blocks(page: str, section: str, language: str = "python") -> list[str]:
    """Return the code blocks in a language below a heading, until the next heading of any level."""
    _, _, text = page.partition(f"# {section}\n")
    return re.findall(
        rf"```{language}\n(.*?)```", re.split(r"^##+ ", text, maxsplit=1, flags=re.MULTILINE)[0], re.DOTALL
    )


def replaced(code: str, functions: str) -> str:
    """Return the code with its functions replaced by those of the same name in a block."""
    for new in ast.parse(functions).body:
        if isinstance(new, ast.FunctionDef):
            text = ast.get_source_segment(functions, new) or ""
            [old] = [
                each for each in ast.parse(code).body if isinstance(each, ast.FunctionDef) and each.name == new.name
            ]
            lines = code.splitlines()
            code = "\n".join([*lines[: old.lineno - 1], text, *lines[old.end_lineno :], ""])
    return code

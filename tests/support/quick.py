"""Copier without what takes it most of its time and changes nothing here.

It compiles each part of a path as a Jinja template, with each the name of the answers file, and for each file
reads `core.fileMode` by git, which is true. Every render compiles all templates and reads copier.yml again.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from copier import _template
from copier._main import Worker
from jinja2.sandbox import SandboxedEnvironment


def copier(patch: pytest.MonkeyPatch) -> None:
    """Make Copier quick in this process and in those that it forks."""
    render, answers_relpath = Worker._render_string, Worker.answers_relpath.fget
    assert answers_relpath

    def render_string(worker: Worker, string: str, extra_context: dict[str, Any] | None = None) -> str:
        is_plain = isinstance(string, str) and "{" not in string
        return string if is_plain else render(worker, string, extra_context)

    def answers_file(worker: Worker) -> Path:
        path = Path(worker.answers_file or worker.template.answers_relpath)
        return path if "{" not in str(path) else answers_relpath(worker)

    compiled, compile_source = dict[Any, Any](), SandboxedEnvironment.compile

    def compile_once(environment: SandboxedEnvironment, source: Any, *given: Any, **options: Any) -> Any:
        # What the code of a template depends on; Copier sets nothing else.
        facts = environment.keep_trailing_newline, *environment.extensions, *environment.filters
        key = (source, facts, given, tuple(options.items())) if isinstance(source, str) else object()
        if key not in compiled:
            compiled[key] = compile_source(environment, source, *given, **options)
        return compiled[key]

    patch.setattr(SandboxedEnvironment, "compile", compile_once)
    # The loader in C accepts the same.
    patch.setattr(_template, "yaml", SimpleNamespace(**vars(yaml) | {"SafeLoader": yaml.CSafeLoader}))
    patch.setattr(Worker, "_render_string", render_string)
    patch.setattr(Worker, "answers_relpath", property(answers_file))
    patch.setattr(Worker, "_sync_git_index_executable_bit", lambda *given: None)

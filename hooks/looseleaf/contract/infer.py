"""`looseleaf contract infer`: adapt the repository in the current folder to a table."""

import argparse
import runpy
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import duckdb

from lifecycle import features
from lifecycle.contract import tables
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from looseleaf.contract import prompts, report
from looseleaf.contract.decide import decide
from looseleaf.contract.draft import MODEL, Draft
from looseleaf.contract.plan import Plan
from looseleaf.contract.profile import profile_table
from looseleaf.contract.source import open_source, refuse_larger_than_disk
from looseleaf.contract.texts import refused

MEMORY = "2GB"
FIRST_ROWS = 10_000


def run(given: argparse.Namespace) -> int:
    """Infer and write; returns 0 when done, 1 for an error, 130 on Ctrl-C."""
    try:
        infer(Path.cwd(), given, prompts.chooser(given.yes))
    except (LifecycleError, OSError, duckdb.Error) as error:
        place = "" if isinstance(error, LifecycleError) else f"{given.data}: "
        print(f"error: {place}{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def infer(root: Path, given: argparse.Namespace, chooser: prompts.Chooser) -> None:
    """Profile the file, decide, and write all files or none; raises LifecycleError."""
    if not (root / MODEL / "contract.py").exists():
        raise refused("no_contract", root=root)
    with tempfile.TemporaryDirectory() as scratch:
        connection = tables.connect(memory_limit=MEMORY, temp_directory=scratch)
        source = open_source(given.data, connection, given.encoding)
        refuse_larger_than_disk(source, root)
        at_terminal = isinstance(chooser, prompts.Terminal)
        label = given.label or prompts.choose_label(list(source.columns), at_terminal)
        wishes = prompts.Wishes.of(given, label)
        plan = decide(profile_table(source, connection), wishes, connection, chooser)
        draft = Draft.of(root, plan, pristine(root))
        print("\n".join(report.lines(plan)))
        if given.diff:
            changed = draft.changed
            print("\n".join([*draft.difference, f"would write: {', '.join(changed)}"]) if changed else "no changes")
            return
        read_labelled_rows(plan, draft.contract, draft.data_module, draft.file, connection)
        print("\n".join(draft.write(given.force)))


def read_labelled_rows(plan: Plan, contract: Contract, text: str, file: str, connection: Any) -> int:
    """Return the number of labelled rows, read by the generated data.py (`text`) as training will read them.

    Raises LifecycleError if they do not satisfy the contract. Nothing has been written by then.
    """
    data: Any = ModuleType("data")
    exec(compile(text, f"{MODEL}/data.py", "exec"), data.__dict__)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(plan.table.source.path)
        data.tables(connection, Path(folder))
        as_of = features.latest(connection, data)
        if plan.table.is_sample:
            # Profiling has already read every value, so the first rows are enough to compare columns and types.
            connection.execute(f"CREATE OR REPLACE TEMP TABLE first AS FROM source LIMIT {FIRST_ROWS}")
            connection.execute("CREATE OR REPLACE TEMP VIEW source AS FROM first")
        return features.training_rows(connection, Team("", contract, None, data, SimpleNamespace()), as_of)


def pristine(root: Path) -> dict[str, bytes]:
    """Render the template at the recorded commit; returns file contents by path, raises LifecycleError."""
    import yaml
    from copier import run_copy

    path = root / "lifecycle/tools/template_source.py"
    if not path.is_file():
        raise LifecycleError(f"{path} is missing", "Run `make update` first.")
    tool = SimpleNamespace(**runpy.run_path(str(path)))
    try:
        source = tool.template_source(root)
    except tool.SourceError as error:
        raise LifecycleError(str(error)) from error
    path = root / tool.ANSWERS_FILE
    recorded = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    choices = {name: value for name, value in (recorded or {}).items() if not name.startswith("_")}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        into = Path(folder) / "render"
        # A folder without a recorded commit is used as it is; Copier clones the address of a checkout.
        is_folder = "://" not in source.url and "@" not in source.url
        url = f"git+{Path(source.url).as_uri()}" if is_folder and source.commit else source.url
        try:
            run_copy(url, into, data=choices, vcs_ref=source.commit or "HEAD", defaults=True, quiet=True, unsafe=False)
        except Exception as error:
            problem = f"the template cannot be rendered from {source.url} ({type(error).__name__}: {error})"
            raise LifecycleError(problem, tool.HINT) from error
        return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}

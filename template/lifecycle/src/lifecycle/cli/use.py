"""Commands that use the deployed version: score a batch, serve requests."""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from lifecycle import settings, timestamps
from lifecycle.cli.commands import Commands
from lifecycle.errors import LifecycleError
from lifecycle.settings import Loaded


def add(commands: Commands) -> None:
    """Add score and serve."""
    score = commands.add("score", _score, "predict for everyone on a date or on each date of a range", "batch")
    score.add_argument("--date", help="2026-01-31; default: the date of the latest time in the data, or today")
    score.add_argument("--from", dest="first", metavar="DATE", help="first date of a range")
    score.add_argument("--to", dest="last", metavar="DATE", help="last date of a range")
    score.add_argument("--input", type=Path, metavar="FILE", help="predict for the rows of this Parquet or CSV file")
    score.add_argument("--output", type=Path, metavar="FILE", help="where to write their predictions, as Parquet")
    serve = commands.add("serve", _serve, "respond to prediction requests until SIGTERM", "online")
    serve.add_argument("--storage", type=Path, help="default: the setting `storage`")
    serve.add_argument("--port", type=int, help="default: the setting `serve.port`")
    serve.add_argument("--workers", type=int, metavar="N", help="processes; default: the setting `serve.workers`")


def _score(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.scoring.batch import score

    if given.input or given.output:
        _score_file(given, loaded)
        return
    if (given.date and (given.first or given.last)) or bool(given.first) != bool(given.last):
        raise LifecycleError("scoring takes one date or a range", "Give --date, or --from and --to.")
    days = None
    if given.date:
        days = [timestamps.parse_date(given.date)]
    elif given.first:
        days = timestamps.days(timestamps.parse_date(given.first), timestamps.parse_date(given.last))
    for path in score(loaded.settings, load_data(), loaded.environment, days, progress=sys.stderr.isatty()):
        print(path)


def _score_file(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.scoring.batch import score_file

    if not (given.input and given.output) or given.date or given.first or given.last:
        problem = "scoring a file takes an input file, an output file and no date"
        raise LifecycleError(problem, "Give --input and --output only.")
    progress = sys.stderr.isatty()
    rows, ignored = score_file(loaded.settings, loaded.environment, given.input, given.output, progress)
    if ignored:
        print(f"ignored columns of {given.input}: {', '.join(ignored)}", file=sys.stderr)
    print(f"{given.output}: {rows} rows")


def _serve(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.serving import server

    serve, storage = loaded.settings.serve, given.storage or loaded.settings.storage
    for name, value in (("port", given.port), ("workers", given.workers)):
        if value is not None:
            try:
                serve = settings.Serve.model_validate(serve.model_dump() | {name: value})
            except ValidationError as error:
                problem = f"--{name} {value}: {error.errors()[0]['msg']}"
                raise LifecycleError(problem, f"Give --{name} another value.") from None
    server.run(loaded.settings.model_copy(update={"serve": serve, "storage": storage}), loaded.environment)

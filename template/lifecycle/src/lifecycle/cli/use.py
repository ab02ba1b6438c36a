"""Verbs that use what is deployed: score a batch, serve requests."""

import argparse
import sys
from pathlib import Path
from pkgutil import resolve_name

from pydantic import ValidationError

from lifecycle import settings, timestamps
from lifecycle.cli.commands import Verbs
from lifecycle.errors import LifecycleError
from lifecycle.settings import Loaded
from lifecycle.storage import Store


def add(verbs: Verbs) -> None:
    """Add score and serve."""
    score = verbs.add("score", _score, "answer everyone as of a date, or of each date of a range", "batch")
    score.add_argument("--date", help="default: the date of the data's latest moment, or today")
    score.add_argument("--from", dest="first", metavar="DATE")
    score.add_argument("--to", dest="last", metavar="DATE")
    score.add_argument("--input", type=Path, metavar="FILE", help="rows of your own instead, Parquet or CSV")
    score.add_argument("--output", type=Path, metavar="FILE", help="where their answers go, as Parquet")
    serve = verbs.add("serve", _serve, "answer requests until SIGTERM", "online")
    serve.add_argument("--storage", type=Path, help="default: the setting")
    serve.add_argument("--port", type=int, help="default: the setting")
    serve.add_argument("--workers", type=int, metavar="N", help="processes that answer; default: the setting")


def _score(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data

    if given.input or given.output:
        _score_file(given, loaded)
        return
    score = resolve_name("lifecycle.scoring.batch:score")
    if (given.date and (given.first or given.last)) or bool(given.first) != bool(given.last):
        raise LifecycleError("a score is for one date or for a range", "Give --date, or --from and --to.")
    days = None
    if given.date:
        days = [timestamps.parse_date(given.date)]
    elif given.first:
        days = timestamps.days(timestamps.parse_date(given.first), timestamps.parse_date(given.last))
    data = load_data()
    for path in score(loaded.settings, data, loaded.environment, days, progress=sys.stderr.isatty()):
        print(path)


def _score_file(given: argparse.Namespace, loaded: Loaded) -> None:
    score_file = resolve_name("lifecycle.scoring.batch:score_file")
    if not (given.input and given.output) or given.date or given.first or given.last:
        problem = "a file of your own is answered as it is, into another file"
        raise LifecycleError(problem, "Give --input and --output, and no date.")
    progress = sys.stderr.isatty()
    rows, ignored = score_file(loaded.settings, loaded.environment, given.input, given.output, progress)
    if ignored:
        print(f"nobody reads {', '.join(ignored)} of {given.input}", file=sys.stderr)
    print(f"{given.output}: {rows} rows")


def _serve(given: argparse.Namespace, loaded: Loaded) -> None:
    wanted = loaded.settings.serve
    for name, value in (("port", given.port), ("workers", given.workers)):
        if value is not None:
            try:
                wanted = settings.Serve.model_validate(wanted.model_dump() | {name: value})
            except ValidationError as error:
                problem = f"--{name} {value}: {error.errors()[0]['msg']}"
                raise LifecycleError(problem, f"Give --{name} another value.") from None
    own = loaded.settings
    # One process needs nobody that watches it but whoever started it.
    run = resolve_name(f"lifecycle.serving.{'workers' if wanted.workers > 1 else 'server'}:run")
    run(Store(given.storage) if given.storage else own.store, loaded.environment, wanted, own.log)

"""The command `looseleaf`."""

import argparse
import signal
import sys
from importlib import import_module
from pathlib import Path

from looseleaf import eject, propose
from looseleaf.fleet import command as fleet
from looseleaf.lift import arguments as lift
from looseleaf.ready import arguments as ready
from looseleaf.update import command as update
from looseleaf.update import provenance


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0 for success, 1 for an error and 3 when a person must decide."""
    parser = argparse.ArgumentParser(prog="looseleaf", description="Adapt and update a rendered repository.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    contract = commands.add_parser("contract", help="adapt a rendered repository to a table")
    steps = contract.add_subparsers(dest="step", required=True, metavar="STEP")
    add_infer_arguments(steps.add_parser("infer", help="write contract, data, tests and documentation for a file"))
    lift.add_arguments(commands.add_parser("lift", help="carry a notebook into a rendered repository"))
    commands.add_parser("graduate", help="name the SQL or scikit-learn step for each learned line of a lift")
    update.add_arguments(commands.add_parser("update", help="update a rendered repository if that is safe"))
    commands.add_parser("propose", help="prepare the pull or merge request of an update (for CI)")
    fleet.add_arguments(commands.add_parser("fleet", help="report, plan or update many repositories"))
    commands.add_parser("provenance", help="compare the template's files with the recorded release")
    commands.add_parser("eject", help="leave the template; everything keeps running")
    commands.add_parser("year", help="simulate a year of the sample in a rendered repository")
    ready.add_arguments(commands.add_parser("ready", help="compute the ML Test Score of a rendered repository"))
    options = parser.parse_args(arguments)
    # A closed terminal or a cancelled job ends an update as Ctrl-C does, which removes temporary files.
    if arguments is None and options.command in ("update", "propose", "fleet", "lift"):
        for sign in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, signal.default_int_handler)
    of_options = {"update": update.run, "fleet": fleet.run, "lift": lift.run, "ready": ready.run}
    if options.command in of_options:
        return of_options[options.command](options)
    of_folder = {"provenance": provenance.run, "eject": eject.run}
    if options.command in of_folder:
        return of_folder[options.command](Path.cwd())
    if options.command == "propose":
        return propose.run()
    # The other commands need the packages of the rendered repository, in whose environment they run.
    modules = {"year": "looseleaf.year.play", "graduate": "looseleaf.graduate"}
    if options.command in modules:
        return int(import_module(modules[options.command]).run(Path.cwd()))
    from looseleaf.contract.infer import run

    return run(options)


def add_infer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `contract infer`."""
    parser.add_argument("--data", required=True, metavar="FILE", help="CSV or Parquet file, one row for each example")
    parser.add_argument("--label", metavar="COLUMN", help="the column to predict")
    parser.add_argument(
        "--key", default="", metavar="A,B", help="the columns that identify the entity, which may repeat"
    )
    parser.add_argument(
        "--id", metavar="COLUMN", help="the column that identifies a row, such as an application number"
    )
    parser.add_argument("--time", metavar="COLUMN", help="the time of the prediction; the latest rows are held out")
    parser.add_argument("--seen", metavar="COLUMN", help="the date at which the label became known")
    tasks = ("regression", "classification", "number", "classes")
    parser.add_argument("--task", choices=tasks, metavar="TASK", help="regression or classification, where both fit")
    parser.add_argument("--positive", metavar="CLASS", help="the class of two whose probability is predicted")
    parser.add_argument("--encoding", default="", metavar="NAME", help="the encoding of a CSV file, such as cp1251")
    parser.add_argument("--keep", default="", metavar="A,B", help="columns to keep although they look like leakage")
    parser.add_argument("--drop", default="", metavar="A,B", help="columns to leave out")
    parser.add_argument("--log-only", default="", metavar="A,B", help="columns to log that the model does not see")
    parser.add_argument("--diff", action="store_true", help="show what would change and write nothing")
    parser.add_argument("--force", action="store_true", help="also replace edited files, after a copy of each")
    parser.add_argument("--yes", action="store_true", help="use the stated defaults without questions")


if __name__ == "__main__":
    sys.exit(main())

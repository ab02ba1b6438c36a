"""The command `looseleaf`."""

import argparse
import sys
from pathlib import Path

from looseleaf import demo, propose
from looseleaf.update import command as update


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 when it is done, 1 when it could not be, 3 when a person has to look."""
    parser = argparse.ArgumentParser(prog="looseleaf", description="What happens around a render of the template.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    demo.add_arguments(verbs.add_parser("demo", help="render the default repository and serve a prediction from it"))
    contract = verbs.add_parser("contract", help="make a rendered repository one about a table")
    infer = contract.add_subparsers(dest="step", required=True, metavar="STEP").add_parser(
        "infer", help="write contract, data, tests and prose for a file and its label"
    )
    add_infer_arguments(infer)
    update.add_arguments(verbs.add_parser("update", help="update a rendered repository, where that is safe"))
    verbs.add_parser("propose", help="such an update as a pull or merge request, for a scheduled run of the CI host")
    verbs.add_parser("year", help="play a year of the sample in a rendered repository: drift, retrain, roll back")
    given = parser.parse_args(arguments)
    if given.verb == "demo":
        return demo.run(given)
    if given.verb == "update":
        return update.run(given)
    if given.verb == "propose":
        return propose.run()
    # The rest needs the packages of the rendered repository, whose environment it runs in.
    if given.verb == "year":
        from looseleaf.year.play import run as run_year

        return run_year(Path.cwd())
    from looseleaf.contract.infer import run

    return run(given)


def add_infer_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `contract infer`."""
    parser.add_argument("--data", required=True, metavar="FILE", help="CSV or Parquet, one row for each example")
    parser.add_argument("--label", metavar="COLUMN", help="what is to be predicted")
    parser.add_argument("--key", metavar="COLUMN", help="what identifies a row, or an entity that repeats")
    parser.add_argument("--time", metavar="COLUMN", help="when a row was asked about: the later part is held out")
    tasks = ("regression", "classification", "number", "classes")
    parser.add_argument("--task", choices=tasks, metavar="TASK", help="regression or classification, where both fit")
    parser.add_argument("--keep", default="", metavar="A,B", help="columns to keep although they look like a leak")
    parser.add_argument("--diff", action="store_true", help="show what would change, write nothing")
    parser.add_argument("--force", action="store_true", help="replace edited files, too, after a copy of each")
    parser.add_argument("--yes", action="store_true", help="take the stated defaults, ask nothing")


if __name__ == "__main__":
    sys.exit(main())

"""The options of `looseleaf lift`. Without other imports, because other commands run without the packages of a lift."""

import argparse
import importlib.util


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `lift`."""
    parser.add_argument("notebook", metavar="NOTEBOOK", help="an .ipynb file, or a .py file of jupytext or marimo")
    parser.add_argument("--new", default="", metavar="DIR", help="render a repository in this new folder first")
    parser.add_argument("--data", default="", metavar="FILE", help="the table, where the notebook does not find it")
    parser.add_argument("--label", default="", metavar="COLUMN", help="the column to predict, where it is not found")
    parser.add_argument("--model", default="", metavar="NAME", help="the name of the model, where several predict")
    parser.add_argument("--kernel", default="", metavar="PYTHON", help="the Python or kernel of the notebook")
    parser.add_argument("--with", dest="packages", default="", metavar="A<B", help="run it with these versions")
    parser.add_argument("--seconds", type=int, default=600, metavar="N", help="the time limit of a cell (default: 600)")
    parser.add_argument("--defaults", action="store_true", help="use the stated defaults without questions")
    parser.add_argument("--force", action="store_true", help="also replace edited files, after a copy of each")
    parser.add_argument("--dry-run", action="store_true", help="write only the report")


def run(given: argparse.Namespace) -> int:
    """Lift and write; returns 0 when every comparison is equal, 1 otherwise, 130 on Ctrl-C."""
    if given.new or not importlib.util.find_spec("lifecycle"):
        from looseleaf.new_repository import run as run_new

        return run_new(given)
    from looseleaf.lift.command import run as run_lift

    return run_lift(given)

"""The command `looseleaf`."""

import argparse
import sys

from looseleaf import demo


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 when it is done, 1 when it could not be."""
    parser = argparse.ArgumentParser(prog="looseleaf", description="What happens around a render of the template.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    demo.add_arguments(verbs.add_parser("demo", help="render the default repository and serve a prediction from it"))
    given = parser.parse_args(arguments)
    return demo.run(given)


if __name__ == "__main__":
    sys.exit(main())

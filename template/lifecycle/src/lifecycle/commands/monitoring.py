"""The verb that looks at what a live version was asked and answered."""

import argparse

from lifecycle.commands.verbs import Verbs, moment
from lifecycle.errors import Refused
from lifecycle.settings import Loaded


def add(verbs: Verbs) -> None:
    """Add monitor."""
    verb = verbs.add("monitor", _monitor, "look at inputs, answers and labels of what answers, and judge them")
    verb.add_argument("--as-of", metavar="MOMENT", help="2026-01-31 or 2026-01-31T12:00:00Z; default: now")


def _monitor(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.monitor import PAGE, monitor
    from lifecycle.team import load_data

    document, dated = monitor(loaded.settings, load_data(), loaded.environment, moment(given.as_of))
    print(f"{document['verdict']}: {document['version']} in {loaded.environment} as of {document['moment']}")
    for reason in document["reasons"]:
        print(f"  {reason['verdict']}: {reason['text']}")
    print(dated / PAGE)
    if document["verdict"] == "incident":
        raise Refused(
            "the data of the last window are broken; nothing is trained on them", "Mend what the report names."
        )

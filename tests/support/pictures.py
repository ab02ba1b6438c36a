"""Take the README's pictures from a year that is simulated now, with Chromium: `make pictures`."""

import json
from collections.abc import Iterable
from pathlib import Path

from looseleaf.project import make
from support import browsing
from support.rendering import DEMO, ROOT, run

PICTURES = ROOT / "docs/pictures"
SIZE = (1000, 860)
# The decision names who requested it; the picture must not show the name of the person who takes it.
IDENTITY = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.email", "GIT_CONFIG_VALUE_0": "ana@example.org"}


def main() -> None:
    """Render and train the default repository, simulate its year, and take pictures of two pages that it writes."""
    folder = ROOT / "build/pictures/project"
    for command, where in (((*DEMO, str(folder)), ROOT), (make("year"), folder)):
        done = run(*command, folder=where, LOOSELEAF_SOURCE=str(ROOT), **IDENTITY)
        assert done.returncode == 0, done.stdout
    year = json.loads((folder / "build/year.json").read_text(encoding="utf-8"))
    reports = Path(year["report"]).parents[1]
    PICTURES.mkdir(exist_ok=True)
    retrain = _newest(reports.glob("*/monitoring.json"), "retrain")
    refused = _newest((reports / "decisions").glob("*.json"), "failed")
    browsing.picture(retrain, PICTURES / "report.png", size=SIZE)
    browsing.picture(refused, PICTURES / "decision.png", scheme="dark", size=SIZE)


def _newest(documents: Iterable[Path], verdict: str) -> Path:
    """Return the page of the newest document with a verdict."""
    found = [path for path in sorted(documents) if json.loads(path.read_bytes())["verdict"] == verdict]
    return found[-1].with_suffix(".html")


if __name__ == "__main__":
    main()

"""Take the README's pictures from a year that is played now: `make pictures`, with Prometheus and Chromium."""

import json
import shutil
import subprocess
import time
from pathlib import Path

from looseleaf.project import environment, make
from support import browsing
from support.rendering import DEMO, ROOT, run
from support.watching import prometheus, wait

PICTURES = ROOT / "docs/pictures"
SIZE = (1000, 860)
WATCH = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: model
    file_sd_configs: [{{files: [{targets}], refresh_interval: 1s}}]
"""


def main() -> None:
    """Render and train the default repository, play its year under a Prometheus, and photograph what it leaves."""
    folder = ROOT / "build/pictures/project"
    done = run(*DEMO, str(folder), folder=ROOT)
    assert done.returncode == 0, done.stdout
    dashboard = _play_watched(folder, folder.parent / "watched")
    year = json.loads((folder / "build/year.json").read_text(encoding="utf-8"))
    PICTURES.mkdir(exist_ok=True)
    browsing.picture(_asking_for_a_retrain(Path(year["report"])), PICTURES / "report.png", size=SIZE)
    browsing.picture(dashboard, PICTURES / "dashboard.png", scheme="dark", size=SIZE)


def _play_watched(folder: Path, watched: Path) -> Path:
    """The last dashboard that was drawn while the year went on: afterwards, nothing answers any more."""
    shutil.rmtree(watched, ignore_errors=True)
    watched.mkdir()
    targets, config, kept = watched / "targets.json", watched / "prometheus.yml", watched / "dashboard.html"
    config.write_text(WATCH.format(targets=targets), encoding="utf-8")
    environ = environment() | {"LOOSELEAF_SOURCE": str(ROOT)}
    with prometheus(watched, config) as url:
        year = subprocess.Popen(make("year"), cwd=folder, env=environ)
        said = folder / "build/year/serve.log"
        found = wait(lambda: said.exists() and "http://" in said.read_text() and said.read_text(), "the service")
        address = found.partition("http://")[2].split()[0]
        targets.write_text(json.dumps([{"targets": [address]}]), encoding="utf-8")
        while year.poll() is None:
            time.sleep(3)
            drawn = run(*make("dashboard", f"URL={url}", "HOURS=0.03"), folder=folder)
            page = folder / "build/dashboard.html"
            # The last one may be of when the service has ended.
            if drawn.returncode == 0 and "nothing yet" not in page.read_text(encoding="utf-8"):
                shutil.copyfile(page, kept)
        assert year.returncode == 0
    return kept


def _asking_for_a_retrain(last: Path) -> Path:
    """The newest report that found drift."""
    dated = sorted(last.parents[1].glob("*/monitoring.json"))
    asking = [path for path in dated if json.loads(path.read_text(encoding="utf-8"))["verdict"] == "retrain"]
    return asking[-1].with_suffix(".html")


if __name__ == "__main__":
    main()

"""Measure the images of a rendered repository: size, start of the service, memory and CPU time of the jobs.

The images are built by buildah on the stand-ins of the base images (LOOSELEAF_TOOLS) and run by podman as root, with
the options that `make image` prints. A start is timed from the command to the first 200 of /readyz; the
image is already on the machine. The start and end of an empty Python process in the same container is
what the container engine itself takes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lifecycle.models.bundle import INSTALL
from looseleaf.project import post
from maintenance.demo import readme_request
from support.images import BASE, BUILD, TOOLS, USER, Images, image_of, rendered_images
from support.processes import free_port
from support.rendering import ROOT, Template, tool
from support.waiting import eventually

# Runs a command and prints the peak of its resident memory in MB and its CPU seconds, as the last line.
WATCH = """
import resource, subprocess, sys
done = subprocess.run(["lifecycle", *sys.argv[1:]], stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss / 1000, used.ru_utime + used.ru_stime)
sys.exit(done.returncode)
"""
MEMORY = "import json; print(json.dumps(int(open('/proc/1/status').read().partition('VmHWM:')[2].split()[0]) / 1000))"
JOBS = ("train", "features", "collect", "monitor", "score --date 2026-01-01", "retrain")


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def seconds(action: Callable[[], Any]) -> float:
    """Return the duration of an action."""
    began = time.monotonic()
    action()
    return time.monotonic() - began


def service(images: Images, printed: str, rounds: int) -> dict[str, float]:
    """Return the size in MB, the medians of the starts in seconds, and the peak memory in MB after 1,000 requests."""
    image, starts, engine, memory = image_of(printed), [], [], []
    row = readme_request(images.folder)
    empty = printed.replace("podman run ", "podman run --entrypoint python ").replace(":8000:", f":{free_port()}:")
    for number in range(rounds):
        engine.append(seconds(lambda: images.done(*images.words(empty), "-c", "pass")))
        began = time.monotonic()
        with images.service(printed, f"start-{number}") as address:
            eventually(lambda: _is_ready(address))
            starts.append(time.monotonic() - began)
            for _ in range(1000):
                post(f"{address}/predict", row)
            memory.append(images.python(f"start-{number}", MEMORY))
    return {
        "MB": images.inspect(image)["Size"] / 1e6,
        "start": statistics.median(starts),
        "engine": statistics.median(engine),
        "memory": statistics.median(memory),
    }


def _is_ready(address: str) -> bool:
    return subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{address}/readyz"]).returncode == 0


def job(images: Images, printed: str, words: str) -> dict[str, float]:
    """Return the peak of resident memory in MB and the CPU seconds of a job in its container."""
    printed = printed.replace("podman run ", "podman run --entrypoint python ").removesuffix(" monitor")
    command = images.words(printed.replace('"$(id -u):$(id -g)"', USER).replace(":/app/data:ro", ":/app/data"))
    lines = images.done(*command, "-c", WATCH, *words.split()).splitlines()
    memory, cpu = lines[-1].split()
    return {"memory": float(memory), "cpu": float(cpu)}


def measured(images: Images, rounds: int) -> dict[str, dict[str, float]]:
    """Build the images and return their figures by row of the table."""
    jobs = images.build("TARGET=jobs")
    for command in ("sample", "train", "promote", "features"):
        images.job(jobs, command)
    figures = {}
    for kind in ("onnx", "skops"):
        install = INSTALL[kind].removeprefix("uv sync ")
        printed = images.build("BAKE=1", f"OPTIONS={BUILD} --build-arg 'INSTALL={install}'")
        figures[f"serve, {kind}"] = service(images, printed, rounds)
    for name, image in (("jobs", image_of(jobs)), ("base image", BASE)):
        figures[name] = {"MB": images.inspect(image)["Size"] / 1e6}
    return figures | {f"lifecycle {words}": job(images, jobs, words) for words in JOBS}


def main() -> int:
    """Build the images, measure them, and print a table; `--json` writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each service")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not TOOLS:
        sys.exit("LOOSELEAF_TOOLS does not name the folder with base-images.sh")
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        template = Template.of(ROOT, Path(work) / "looseleaf")
        os.environ.setdefault("UV_CACHE_DIR", output(tool("uv"), "cache", "dir"))
        with rendered_images(template, Path(work) / "images") as images:
            figures = measured(images, given.rounds)
    print("| | MB | start s | engine s | peak memory MB | CPU s |\n|---|--:|--:|--:|--:|--:|")
    for name, each in figures.items():
        cells = (each.get(key) for key in ("MB", "start", "engine", "memory", "cpu"))
        print(f"| {name} | " + " | ".join("" if cell is None else f"{cell:,.1f}" for cell in cells) + " |")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

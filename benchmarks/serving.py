"""Compare our service with others that serve the same pipeline: requests per second, latency, memory, cold start.

Each round starts every server anew, in random order, pinned to core 0, with the load on core 1. Before it is timed, a
server has to return the pipeline's own predictions for a few rows, and a failed request fails the run. Compare the
ratios; see README.md.
"""

import argparse
import json
import math
import os
import platform
import random
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from looseleaf.steps import StepFailed
from side_by_side import figures, load, ours
from side_by_side.figures import FALLBACK, LOOK_UP, OURS
from side_by_side.processes import ServerFailed, free_port, post, running
from side_by_side.servers import CATALOGUE, PEERS, NotInstalled, Server, cases, install

ROOT = Path(__file__).resolve().parents[1]
SERVER_CORE, LOAD_CORE = 0, 1
# float64 in every peer, float32 in ONNX.
TOLERANCE = 1e-6
CHECKED, SENT = 20, 200


def measure(server: Server, wrk: str, seconds: int, folder: Path) -> dict[str, float]:
    """Start a server, check its predictions, and put load on it."""
    rows = cases(server)
    bodies = [json.dumps(server.body(case)) for case in rows[:SENT]]
    script, sent = folder / f"{server.name}.lua", folder / f"{server.name}.json"
    script.write_text(load.lua(bodies))
    sent.write_text(json.dumps(bodies))
    port = free_port()
    url = f"http://127.0.0.1:{port}{server.path}"
    command = [word.format(port=port) for word in server.command]
    log = folder / f"{server.name}.log"
    with running(command, server.folder, server.variables, url, bodies[0], SERVER_CORE, log) as started:
        check(server, url, rows[:CHECKED])
        results = {"cold_start_seconds": started.seconds, "cold_start_cpu": started.cpu}
        for connections in server.connections:
            found = load.most(wrk, url, script, connections, seconds, LOAD_CORE)
            results |= {f"{name}_{connections}": value for name, value in asdict(found).items()}
        half = load.fixed(url, sent, results["rate_32"] / 2, 32, seconds, LOAD_CORE)
        results |= {f"{name}_half": value for name, value in asdict(half).items()}
        results["megabytes"] = started.megabytes()
    return results


def check(server: Server, url: str, rows: list[dict[str, Any]]) -> None:
    """Raise ServerFailed if the server's predictions differ from the pipeline's."""
    for case in rows:
        response = post(url, json.dumps(server.body(case)))
        expected = case["prediction"]
        if server.probability and not math.isclose(server.probability(response), expected, abs_tol=TOLERANCE):
            raise ServerFailed(f"{server.name} returns {response}, and the pipeline predicts {expected}")


def prepared(build: Path, peers: list[str], variants: list[str], allow_missing: bool) -> list[Server]:
    """Install all servers; a peer that cannot be installed ends the run unless it may be missing."""
    before = re.findall(r"(?m)^RELEASED := *(\S+)", (ROOT / "template/lifecycle/lifecycle.mk").read_text())[0]
    print("preparing our repository …", file=sys.stderr, flush=True)
    folder = ours.render(build)
    found = [ours.prepare(each, folder, build) for each in ours.VARIANTS if each.name in variants]
    served = build / "served"
    shutil.rmtree(served, ignore_errors=True)
    shutil.copytree(PEERS, served)
    for name in ("pipeline.joblib", "requests.json"):
        shutil.copy(build / f"cases-{variants[0]}" / name, served / name)
    pins = ours.pins(folder)
    for peer in CATALOGUE:
        if peer.name in peers:
            print(f"preparing {peer.name} …", file=sys.stderr, flush=True)
            try:
                found.append(install(peer, build, pins, before))
            except NotInstalled as error:
                _missing(peer.name, error, allow_missing)
    return found


def _missing(name: str, error: Exception, allowed: bool) -> None:
    if not allowed:
        sys.exit(f"{name} cannot be measured: {error}\n--allow-missing continues without it.")
    print(f"without {name}: {error}", file=sys.stderr, flush=True)


def rounds_of(servers: list[Server], given: argparse.Namespace, folder: Path) -> list[dict[str, dict[str, float]]]:
    """Return the results of each round."""
    wrk, order, missing = load.find_wrk(), random.Random(given.seed), set()
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(given.rounds):
        rounds.append({})
        for server in order.sample(servers, len(servers)):
            if server.name in missing:
                continue
            try:
                results = measure(server, wrk, given.seconds, folder)
            except (ServerFailed, load.LoadFailed) as error:
                if server.name in (OURS, LOOK_UP, FALLBACK):
                    sys.exit(f"{server.name}: {error}")
                _missing(server.name, error, given.allow_missing)
                missing.add(server.name)
                continue
            rounds[-1][server.name] = results
            shown = ", ".join(f"{name} {value:,.3f}" for name, value in results.items())
            print(f"round {number + 1}, {server.name}: {shown}", file=sys.stderr, flush=True)
    return [{name: each for name, each in one.items() if name not in missing} for one in rounds]


def main() -> int:
    """Measure, print the table and the ratios, write the JSON."""
    peers, variants = [peer.name for peer in CATALOGUE], [variant.name for variant in ours.VARIANTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=",".join(peers), help="names of peers, separated by commas")
    parser.add_argument("--ours", default=",".join(variants), help="names of our services, separated by commas")
    parser.add_argument("--seconds", type=int, default=5, help="duration of the load for each number of connections")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="seed of the order")
    parser.add_argument("--allow-missing", action="store_true", help="continue without a peer that fails")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench-serving")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "serving.json")
    given = parser.parse_args()
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        sys.exit("The benchmark needs cores 0 and 1: one for the server, one for the load.")
    unknown = {*given.peers.split(",")} - {*peers, ""} | {*given.ours.split(",")} - {*variants}
    if unknown:
        sys.exit(f"There is no {', '.join(sorted(unknown))}; there are {', '.join(variants + peers)}.")
    given.build.mkdir(parents=True, exist_ok=True)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    try:
        load.find_wrk()
        servers = prepared(given.build, given.peers.split(","), given.ours.split(","), given.allow_missing)
        # This process must not take time from the server's core.
        os.sched_setaffinity(0, {LOAD_CORE})
        rounds = rounds_of(servers, given, given.build)
    except StepFailed as error:
        sys.exit(f"{error}\n{error.hint}")
    except (NotInstalled, load.LoadFailed) as error:
        sys.exit(str(error))
    report = {
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "versions": {server.name: server.versions for server in servers},
        "seconds": given.seconds,
        "rounds": rounds,
        "figures": figures.medians(rounds),
        "ratios": figures.ratios(rounds, [name for name in peers if any(name in each for each in rounds)]),
    }
    given.json.write_text(json.dumps(report, indent=2) + "\n")
    for server in servers:
        print(f"{server.name}: {server.versions}")
    print(figures.table(report["figures"]))
    print(figures.ratio_lines(report["ratios"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

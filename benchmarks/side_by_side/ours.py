"""Prepare our services: render the template, write a table, and install each serving environment."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from looseleaf.project import environment, make
from maintenance import demo
from side_by_side.figures import FALLBACK, LOOK_UP, OURS
from side_by_side.servers import PEERS, NotInstalled, Server, run, uv

TEAM = Path(__file__).resolve().parents[1] / "team"
ROWS = 8000
LEVELS = {
    "plan": ("basic", "family", "plus"),
    "channel": ("app", "phone", "shop", "web"),
    "region": ("coast", "east", "north", "south", "west"),
    "device": ("android", "ios", "linux", "mac", "windows"),
}


@dataclass(frozen=True)
class Variant:
    """One of our services: files of team/ by their name in src/model, and the kind of its bundle."""

    name: str
    files: dict[str, str]
    kind: str = "onnx"
    connections: tuple[int, ...] = (1, 32)


VARIANTS = (
    Variant(OURS, {"contract.py": "contract.py", "data.py": "data.py", "estimator.py": "estimator.py"}),
    Variant(
        LOOK_UP,
        {
            "contract.py": "contract_look_up.py",
            "data.py": "data_look_up.py",
            "estimator.py": "estimator.py",
            "features.sql": "features_look_up.sql",
        },
    ),
    Variant(
        FALLBACK,
        {"contract.py": "contract.py", "data.py": "data.py", "estimator.py": "estimator_fallback.py"},
        "skops",
        (1, 32, 64),
    ),
)


def table(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Return eight numbers, four categories, and a label that depends on both; numbers are exact in float32."""
    random = np.random.default_rng(seed)
    columns = {
        "age": random.integers(18, 91, rows),
        "tenure": random.exponential(30, rows),
        "visits": random.poisson(12, rows),
        "purchases": random.poisson(4, rows),
        "spent": random.gamma(2, 150, rows),
        "discount": random.uniform(0, 30, rows),
        "distance": random.exponential(15, rows),
        "rating": random.uniform(1, 5, rows),
    }
    frame = pd.DataFrame({name: np.round(np.asarray(each, dtype=float) * 4) / 4 for name, each in columns.items()})
    for name, levels in LEVELS.items():
        frame[name] = random.choice(np.array(levels, dtype=object), rows)
    truth = (
        np.sin(frame.visits / 3) + (frame.plan == "basic") * (frame.spent < 200) - frame.rating / 3
        + (frame.region == "coast") * (frame.distance > 20) - (frame.device == "ios") * 0.5
    )  # fmt: skip
    frame["churned"] = (truth + random.normal(0, 0.5, rows)) > 0
    frame.insert(0, "customer_id", [f"c-{at:05}" for at in range(rows)])
    return frame


def render(build: Path) -> Path:
    """Render the default repository, set it up, and write the table to data/."""
    folder = build / "churn"
    demo.render(folder)
    (folder / "data").mkdir()
    table().to_csv(folder / "data" / "table.csv", index=False)
    run(make("setup"), folder, "our repository", environment())
    return folder


def prepare(variant: Variant, folder: Path, build: Path) -> Server:
    """Train, promote and install one variant; its serving environment has only the packages of its bundle."""
    model, storage, served = (
        folder / "src" / "model",
        build / f"storage-{variant.name}",
        build / f"cases-{variant.name}",
    )
    for name in ("contract.py", "data.py", "estimator.py", "features.sql"):
        (model / name).unlink(missing_ok=True)
    for name, of_team in variant.files.items():
        shutil.copy(TEAM / of_team, model / name)
    shutil.rmtree(storage, ignore_errors=True)
    served.mkdir(exist_ok=True)
    settings = environment() | {"LIFECYCLE_STORAGE": str(storage), "LIFECYCLE_TRACKING__ENABLED": "false"}
    commands = ["train", "promote", *(["features"] if "features.sql" in variant.files else [])]
    for command in commands:
        run([str(folder / ".venv/bin/lifecycle"), command], folder, variant.name, settings)
    run([str(folder / ".venv/bin/python"), str(PEERS / "fit.py"), str(served)], folder, variant.name, settings)
    (bundle,) = (storage / "bundles").iterdir()
    kind = json.loads((bundle / "bundle.json").read_text())["kind"]
    if kind != variant.kind:
        raise NotInstalled(f"{variant.name}: its bundle has the kind {kind} instead of {variant.kind}")
    place = build / f"env-{variant.name}"
    extras = [option for extra in ("serve", *(["skops"] if kind == "skops" else [])) for option in ("--extra", extra)]
    run(
        [uv(), "sync", "--quiet", "--locked", "--package", "looseleaf-lifecycle", *extras],
        folder, variant.name, environment() | {"UV_PROJECT_ENVIRONMENT": str(place)},
    )  # fmt: skip
    return Server(
        variant.name,
        build / f"cases-{variant.name}",
        (str(place / "bin" / "lifecycle"), "serve", "--storage", str(storage), "--port", "{port}"),
        body=lambda case: case["sent"],
        probability=lambda response: float(response["probability"]),
        cases=served / "requests.json",
        versions=f"{kind}: {_versions(place)}",
        connections=variant.connections,
    )


def _versions(place: Path) -> str:
    listed = run([uv(), "pip", "freeze", "--python", str(place / "bin" / "python")], place, "our service").split()
    shown = ("onnxruntime", "numpy", "pydantic", "uvicorn", "uvloop", "httptools", "fastapi", "scikit-learn")
    return " ".join(each for each in listed if each.split("==")[0] in shown)


def pins(folder: Path) -> list[str]:
    """Return the versions that fitted the pipeline, which have to read its joblib file."""
    listed = run(
        [uv(), "pip", "freeze", "--python", str(folder / ".venv/bin/python")], folder, "our repository"
    ).split()
    return [each for each in listed if each.split("==")[0] in ("scikit-learn", "numpy", "pandas")]

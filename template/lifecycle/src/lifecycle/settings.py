"""Every setting, its default and where its value came from.

Defaults stand here; `config/base.yaml` and `config/<environment>.yaml` override them, and an environment variable
overrides those: LIFECYCLE_STORAGE, LIFECYCLE_SERVE__PORT (two underscores between section and name).
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store

ENVIRONMENTS = ("local", "staging", "production")
PREFIX = "LIFECYCLE_"
# It begins as the others do and is none: a setting is told by `make config`.
API_KEY = "LIFECYCLE_API_KEY"
Tree = dict[str, Any]


class Section(BaseModel):
    """A group of settings; a name that is not here is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


UNITS = {"m": 60, "h": 3600, "d": 86_400}


def _seconds(value: object) -> object:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("an interval is a whole number with m, h or d, such as 15m, 1h or 7d")
    return int(found[1]) * UNITS[found[2]]


def _told_interval(seconds: int) -> str:
    unit = next(unit for unit in reversed(UNITS) if seconds % UNITS[unit] == 0)
    return f"{seconds // UNITS[unit]}{unit}"


# In seconds; written as people do.
Interval = Annotated[int, BeforeValidator(_seconds), PlainSerializer(_told_interval, when_used="json")]


class Train(Section):
    """How a candidate is trained."""

    seed: int = 0
    holdout: Annotated[float, Field(gt=0, lt=1, description="Share of the rows held out.")] = 0.2
    golden_rows: Annotated[int, Field(ge=1, le=1000)] = 50


class Gate(Section):
    """What a candidate must reach before it may answer."""

    min_rows: Annotated[int, Field(ge=1, description="Fewer held-out rows decide nothing.")] = 200
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="Of the bootstrap bound.")] = 0.95
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    margin: Annotated[
        float, Field(ge=0, le=1, description="Loss of ROC AUC, accuracy or R² that a retrain after drift may cost.")
    ] = 0.015
    min_slice_rows: Annotated[int, Field(ge=20, description="Smaller slices are not tested.")] = 100
    max_milliseconds: Annotated[float, Field(gt=0, description="For one row, without the network.")] = 100.0
    max_megabytes: Annotated[float, Field(gt=0, description="Of the bundle.")] = 500.0
    false_positive_cost: Annotated[float, Field(gt=0, description="Of the positive class answered wrongly.")] = 1.0
    false_negative_cost: Annotated[float, Field(gt=0, description="Of the positive class missed.")] = 1.0


class Log(Section):
    """The log of predictions, its retention, and what the service does when the disk is slow or full."""

    enabled: bool = True
    flush_seconds: Annotated[float, Field(gt=0, le=10)] = 0.2
    segment_bytes: Annotated[int, Field(ge=1000, description="A larger segment is closed.")] = 64_000_000
    segment_seconds: Annotated[float, Field(gt=0, description="An older segment is closed.")] = 60.0
    max_bytes: Annotated[int, Field(ge=1000, description="Of all segments; beyond it, lines are dropped.")] = 2**30
    retention_days: Annotated[int, Field(ge=1)] = 400


class Monitor(Section):
    """When live inputs and answers count as changed, and when data count as broken."""

    window_days: Annotated[int, Field(ge=1)] = 28
    windows: Annotated[int, Field(ge=1, le=12, description="Drift has to be seen in two of these and in the last.")] = 3
    min_rows: Annotated[int, Field(ge=50, description="Smaller windows decide nothing.")] = 300
    psi: Annotated[float, Field(gt=0, description="Population stability index from which a column drifts.")] = 0.1
    null_change: Annotated[float, Field(gt=0, le=1, description="Share of nulls that breaks data.")] = 0.1
    unseen_share: Annotated[float, Field(gt=0, le=1, description="Share of unseen levels that breaks data.")] = 0.05
    outside_share: Annotated[float, Field(gt=0, le=1, description="Share outside `expected` that is told.")] = 0.05
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="Of the intervals of quality.")] = 0.95
    min_labels: Annotated[int, Field(ge=20, description="Fewer labelled predictions say nothing.")] = 200
    label_days: Annotated[int, Field(ge=0, description="After how many days a label is expected to be known.")] = 30
    quality_drop: Annotated[float, Field(gt=0, le=1, description="Of ROC AUC, accuracy or R² below the holdout's.")] = (
        0.05
    )
    max_skew: Annotated[
        float, Field(ge=0, le=1, description="Share of logged rows that may be recomputed otherwise.")
    ] = 0.01
    feature_days: Annotated[
        float, Field(gt=0, description="How far looked-up features may be behind the data; beyond it, they are broken.")
    ] = 3.0
    stale_days: Annotated[int, Field(ge=1, description="Age of the training data that asks for a retrain.")] = 180


class Retrain(Section):
    """When a retrain may begin by itself. Off: nothing but `make retrain` starts one."""

    enabled: bool = True
    every_days: Annotated[int, Field(ge=0, description="A retrain by schedule; 0: none.")] = 0
    new_labels: Annotated[int, Field(ge=0, description="Labels since training that ask for one; 0: none.")] = 0
    cooldown_days: Annotated[float, Field(ge=0, description="After a retrain, before the next by itself.")] = 7.0
    most_a_week: Annotated[int, Field(ge=1)] = 2


class Score(Section):
    """How a batch is scored."""

    chunk_rows: Annotated[
        int, Field(ge=1, description="Answered at once, and kept through a kill; in blocks of 2048.")
    ] = 50_000
    memory_mb: Annotated[int, Field(ge=100, description="Of DuckDB; what does not fit spills into the storage.")] = 400


class Serve(Section):
    """The prediction service: address, limits and processes."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    max_rows: Annotated[int, Field(ge=1, description="Rows in one request.")] = 1000
    max_bytes: Annotated[int, Field(ge=1, description="Bytes in one request.")] = 1_000_000
    max_in_flight: Annotated[
        int, Field(ge=1, description="Requests that wait for the model's thread; beyond: 503.")
    ] = 256
    queue_rows: Annotated[int, Field(ge=1, description="Rows that wait for the model's thread; beyond: 429.")] = 4000
    batch_rows: Annotated[int, Field(ge=1, description="Rows that a slow model predicts together.")] = 1000
    timeout_seconds: Annotated[
        float, Field(gt=0, le=60, description="For a request to arrive (or 408), and for its prediction (or 503).")
    ] = 5.0
    api_key_file: Annotated[Path | None, Field(description="API keys; LIFECYCLE_API_KEY has precedence.")] = None
    poll_seconds: Annotated[float, Field(gt=0, le=5, description="Between checks of deployment and features.")] = 1.0
    leave_seconds: Annotated[
        float, Field(ge=0, le=60, description="From SIGTERM until no connection is accepted; /readyz returns 503.")
    ] = 0.0
    drain_seconds: Annotated[float, Field(gt=0, le=9, description="For the requests in flight at the end.")] = 8.0
    workers: Annotated[int, Field(ge=1, le=256, description="Processes of the service.")] = 1
    log_format: Annotated[
        Literal["auto", "json", "text"], Field(description="Of log messages; auto: text on a terminal.")
    ] = "auto"


class Tracking(Section):
    """The mirror of runs for people; nothing reads it to decide."""

    enabled: bool = True
    uri: Annotated[str, Field(description="Empty: a SQLite file in the storage.")] = ""


class Settings(Section):
    """All settings of one environment."""

    storage: Path = Path("storage")
    data: Path = Path("data")
    clock: Annotated[Path | None, Field(description="A file with the moment that stands for now; local only.")] = None
    schedule: Annotated[dict[str, Interval], Field(description="Verb → how often, such as 15m, 1h or 7d.")] = {}
    train: Train = Train()
    gate: Gate = Gate()
    log: Log = Log()
    monitor: Monitor = Monitor()
    retrain: Retrain = Retrain()
    score: Score = Score()
    serve: Serve = Serve()
    tracking: Tracking = Tracking()

    @property
    def store(self) -> Store:
        """The storage directory."""
        return Store(self.storage)

    def now(self) -> int:
        """The moment that stands for now, in whole seconds since 1970 UTC: the clock, or what `clock` holds."""
        return timestamps.now(self.clock)


@dataclass(frozen=True)
class Loaded:
    """Settings, the environment they are for, and the origin of each (by dotted name) that is not a default."""

    environment: str
    settings: Settings
    origins: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        """`name = value  (origin)` for every setting."""
        for name, value in _leaves(self.settings.model_dump(mode="json")):
            yield f"{name} = {value!r}  ({self.origins.get(name, 'default')})"


def load(root: Path, environment: str = "local", environ: Mapping[str, str] | None = None) -> Loaded:
    """Settings of an environment; raises LifecycleError naming the file, the setting and the nearest name."""
    if environment not in ENVIRONMENTS:
        raise LifecycleError(f"there is no environment {environment!r}", f"There are {', '.join(ENVIRONMENTS)}.")
    tree: Tree = {}
    origins: dict[str, str] = {}
    _refuse_strays(root / "config")
    for name in ("base", environment):
        path = root / "config" / f"{name}.yaml"
        if path.exists():
            origin = f"config/{name}.yaml"
            _merge(tree, origins, _read(path.read_bytes(), origin), origin)
    for name, value in (os.environ if environ is None else environ).items():
        if name.startswith(PREFIX) and name != API_KEY:
            parts = name.removeprefix(PREFIX).lower().split("__")
            _merge(tree, origins, _nest(parts, _parse(value, name)), name)
    try:
        found = Settings.model_validate(tree)
    except ValidationError as error:
        raise LifecycleError("\n  ".join(_told(each, origins) for each in error.errors()), _HINT) from None
    if found.clock and environment != "local":
        raise LifecycleError(f"{origins['clock']}: clock is for local only", "Remove it: real time passes there.")
    return Loaded(environment, found, origins)


_HINT = "`make config` lists every setting with its value; lifecycle/src/lifecycle/settings.py says what each means."


def _refuse_strays(folder: Path) -> None:
    known = [f"{name}.yaml" for name in ("base", *ENVIRONMENTS)]
    for path in sorted(folder.glob("*.y*ml")):
        if path.name not in known:
            near = difflib.get_close_matches(path.name, known, n=1, cutoff=0)[0]
            raise LifecycleError(f"nothing reads config/{path.name}; is {near} meant?", "Rename or remove it.")


def _parse(text: str | bytes, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LifecycleError(f"{origin} is not YAML: {error}", "Fix what it names.") from error


def _read(content: bytes, origin: str) -> Tree:
    found = _parse(content, origin) or {}
    if not isinstance(found, dict):
        raise LifecycleError(f"{origin} holds {type(found).__name__} instead of settings", "Write `name: value` lines.")
    return found


def _merge(tree: Tree, origins: dict[str, str], override: Tree, origin: str, prefix: str = "") -> None:
    for name, value in override.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict):
            below = tree.setdefault(name, {})
            if isinstance(below, dict):
                _merge(below, origins, value, origin, f"{dotted}.")
                continue
        tree[name] = value
        origins[dotted] = origin


def _nest(parts: list[str], value: Any) -> Tree:
    for part in reversed(parts):
        value = {part: value}
    nested: Tree = value
    return nested


def _leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _told(error: Any, origins: Mapping[str, str]) -> str:
    dotted = ".".join(str(part) for part in error["loc"])
    below = (origins[name] for name in origins if name.startswith(f"{dotted}."))
    origin = origins.get(dotted) or next(below, "settings")
    if error["type"] != "extra_forbidden":
        return f"{origin}: {dotted}: {error['msg']} (it is {error['input']!r})"
    known = [name for name, _ in _leaves(Settings().model_dump())] + list(Settings.model_fields)
    near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
    return f"{origin}: there is no setting {dotted}" + (f"; is {near[0]} meant?" if near else "")

"""Every setting, its default, and where its value comes from.

The defaults are here. `config/base.yaml` and then `config/<environment>.yaml` override them, and environment variables
override both: LIFECYCLE_STORAGE, LIFECYCLE_SERVE__PORT (two underscores between section and name).
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, parse_yaml

ENVIRONMENTS = ("local", "staging", "production")
PREFIX = "LIFECYCLE_"
API_KEY, SIGNING_KEY = "LIFECYCLE_API_KEY", "LIFECYCLE_SIGNING_KEY"  # secrets: `make config` prints every setting
PublicKey = Annotated[str, Field(pattern="^[A-Za-z0-9+/]{43}=$|^-----BEGIN PUBLIC KEY-----")]  # 32 bytes in Base64
HINT = "`make config` lists every setting with its value; lifecycle/src/lifecycle/settings.py describes them."


class Section(BaseModel):
    """A group of settings; an unknown name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Train(Section):
    """How a candidate is trained."""

    seed: int = Field(default=0, description="Seed of every random choice.")
    holdout: float = Field(default=0.2, gt=0, lt=0.6, description="Largest share of the rows that is held out.")
    windows: int = Field(default=6, ge=0, le=24, description="Shorter histories that are tried; 0: only the whole one.")
    golden_rows: int = Field(default=50, ge=1, le=1000, description="Rows in the bundle that verify a loaded model.")
    export_seconds: float = Field(default=60.0, ge=0, description="To convert to ONNX; longer: skops. 0: no limit.")
    export_mb: int = Field(default=2048, ge=512, description="Memory to convert a model to ONNX; more: skops.")


class Gate(Section):
    """Limits that a candidate must reach before it may be deployed; a score is ROC AUC, accuracy or R²."""

    min_rows: int = Field(default=200, ge=1, description="Held-out rows; with fewer, a candidate is not promoted.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Level of the bootstrap bound.")
    resamples: int = Field(default=1000, ge=100, le=100_000, description="Samples of the bootstrap.")
    margin: float = Field(default=0.015, ge=0, le=1, description="Score that a retrain after drift may lose.")
    min_slice_rows: int = Field(default=100, ge=20, description="Smaller slices are not tested.")
    max_milliseconds: float = Field(default=100.0, gt=0, description="To predict one row, without the network.")
    max_megabytes: float = Field(default=500.0, gt=0, description="Size of a bundle.")
    readiness: float = Field(default=1.0, ge=0, le=7, description="Lowest ML Test Score that `make ready` accepts.")
    false_positive_cost: float = Field(default=1.0, gt=0, description="Of a false positive, unless agreed.")
    false_negative_cost: float = Field(default=1.0, gt=0, description="Of a false negative, unless agreed.")


class Log(Section):
    """The prediction log of the service and its retention."""

    enabled: bool = Field(default=True, description="Whether predictions are logged.")
    flush_seconds: float = Field(default=0.2, gt=0, le=10, description="Seconds between two writes.")
    segment_bytes: int = Field(default=64_000_000, ge=1000, description="A larger segment is closed.")
    segment_seconds: float = Field(default=60.0, gt=0, description="An older segment is closed.")
    max_bytes: int = Field(default=2**30, ge=1000, description="Size of all segments; further lines are dropped.")
    retention_days: int = Field(default=400, ge=1, description="Days for which predictions are kept.")


class Monitor(Section):
    """When inputs, predictions and scores count as changed, and when data count as broken."""

    window_days: int = Field(default=28, ge=1, description="Days of a window.")
    windows: int = Field(default=3, ge=1, le=12, description="Drift must occur in two of these, and in the last one.")
    min_rows: int = Field(default=300, ge=50, description="Smaller windows are not judged.")
    psi: float = Field(default=0.1, gt=0, description="Stability index of a drifted column.")
    null_change: float = Field(default=0.1, gt=0, le=1, description="Change of the share of nulls that is broken.")
    unseen_share: float = Field(default=0.05, gt=0, le=1, description="Share of unseen levels that is broken.")
    outside_share: float = Field(default=0.05, gt=0, le=1, description="Share outside `expected` that is reported.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Level of the intervals of quality.")
    min_labels: int = Field(default=200, ge=20, description="Quality is not judged on fewer labelled predictions.")
    label_days: int = Field(default=30, ge=0, description="Days after which a label is expected.")
    quality_drop: float = Field(default=0.05, gt=0, le=1, description="Loss of score against the holdout.")
    max_skew: float = Field(default=0.01, ge=0, le=1, description="Share of rows that recompute differently.")
    feature_days: float = Field(default=3.0, gt=0, description="Days that features may lag behind the data.")
    stale_days: int = Field(default=180, ge=1, description="Age of the training data that requests a retrain.")


class Retrain(Section):
    """When `make retrain DUE=1` trains. Where it is not enabled, only `make retrain` does."""

    enabled: bool = Field(default=True, description="Whether `make retrain DUE=1` ever trains.")
    every_days: int = Field(default=0, ge=0, description="Days between two retrains; 0: no schedule.")
    new_labels: int = Field(default=0, ge=0, description="New labels that request a retrain; 0: none do.")
    cooldown_days: float = Field(default=7.0, ge=0, description="Days after a retrain without another automatic one.")
    most_a_week: int = Field(default=2, ge=1, description="Automatic retrains in seven days.")


class Score(Section):
    """How a batch is scored."""

    chunk_rows: int = Field(default=50_000, ge=1, description="Rows that a killed run does not predict again, by 2048.")
    memory_mb: int = Field(default=650, ge=350, description="Of a job, also to monitor; what exceeds it is on disk.")


class Engine(Section):
    """What computes features, training rows and batch predictions; lifecycle/docs/spark.md describes Spark."""

    kind: Literal["duckdb", "spark"] = Field(default="duckdb", description="spark: install it first (docs/spark.md).")
    master: str = Field(default="local[*]", description="local[N], spark://HOST:PORT, yarn, or sc://HOST:PORT.")
    exchange: str = Field(default="", description="Folder or URL that all workers of Spark share; empty: the storage.")
    train_rows: int = Field(default=2_000_000, ge=1000, description="More training rows are sampled by entity.")
    conf: dict[str, str | int | float | bool] = Field(default={}, description="Settings of Spark by their own names.")


class Serve(Section):
    """How the service listens, and its limits."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0: every one.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    max_rows: int = Field(default=1000, ge=1, description="Rows in one request.")
    max_bytes: int = Field(default=1_000_000, ge=1, description="Bytes in one request.")
    max_in_flight: int = Field(default=256, ge=1, description="Requests that wait for the model's thread; beyond: 503.")
    queue_rows: int = Field(default=4000, ge=1, description="Rows that wait for the model's thread; beyond: 429.")
    batch_rows: int = Field(default=1000, ge=1, description="Rows that a slow model predicts together.")
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="To receive (408), to respond (503).")
    api_key_file: Path | None = Field(default=None, description="Keys of callers; LIFECYCLE_API_KEY overrides it.")
    poll_seconds: float = Field(default=1.0, gt=0, le=5, description="Between checks for another deployed version.")
    leave_seconds: float = Field(default=0.0, ge=0, le=60, description="Serving goes on, not ready, after SIGTERM.")
    drain_seconds: float = Field(default=8.0, gt=0, le=9, description="For requests in flight at the end.")
    workers: int = Field(default=1, ge=1, le=256, description="Worker processes.")
    log_format: Literal["auto", "json", "text"] = Field(default="auto", description="auto: text on a terminal.")
    root_path: str = Field(default="", pattern="^(/[^/]+)*$", description="Path that a proxy removes from requests.")
    trusted_proxies: str = Field(default="", description="Addresses whose X-Forwarded headers are read, or *.")
    cors_origins: tuple[str, ...] = Field(default=(), description="Origins of pages that may send requests, or *.")


class Tracking(Section):
    """The copy of training runs in MLflow (`make setup EXTRAS=mlflow`), for people; no decision reads it."""

    enabled: bool = Field(default=True, description="Whether runs are copied, if MLflow is installed.")
    uri: str = Field(default="", description="Empty: a SQLite file in the storage.")


class Settings(Section):
    """All settings of one environment."""

    storage: Path = Field(default=Path("storage"), description="A directory or a bucket, such as s3://NAME/PREFIX.")
    bucket: str = Field(default="", description="The address of a bucket that `storage` names.")
    working_copy: Path = Field(default=Path("build/working_copy"), description="Folder for copies of a bucket's files.")
    data: Path = Field(default=Path("data"), description="The folder of the tables.")
    trusted_keys: tuple[PublicKey, ...] = Field(default=(), description="A version must be signed by one; none: any.")
    train: Train = Train()
    gate: Gate = Gate()
    log: Log = Log()
    monitor: Monitor = Monitor()
    retrain: Retrain = Retrain()
    score: Score = Score()
    engine: Engine = Engine()
    serve: Serve = Serve()
    tracking: Tracking = Tracking()

    @property
    def store(self) -> Store:
        """Return the storage."""
        if not self.bucket:
            return Store(self.storage, None, self.trusted_keys)
        from lifecycle.bucket import Bucket

        return Store(self.storage, Bucket(self.bucket, self.storage), self.trusted_keys)


@dataclass(frozen=True)
class Loaded:
    """The settings of an environment, and the origin of every value that is not a default, by dotted name."""

    environment: str
    settings: Settings
    origins: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        """Yield `name = value  (origin)` for every setting."""
        for name, value in _leaves(self.settings.model_dump(mode="json")):
            hidden = re.match(r"(?i)engine\.(master=.*;|conf\..*(secret|token|password|key).*=)", f"{name}={value}")
            yield f"{name} = {'…' if hidden else value!r}  ({self.origins.get(name, 'default')})"


def load(root: Path, environment: str = "local", environ: Mapping[str, str] | None = None) -> Loaded:
    """Load the settings of an environment of the repository `root`, with `environ` or those of the process.

    A LifecycleError names the file or variable that is wrong, the setting and the nearest valid name.
    """
    if environment not in ENVIRONMENTS:
        raise LifecycleError(f"there is no environment {environment!r}", f"There are {', '.join(ENVIRONMENTS)}.")
    files = [f"{name}.yaml" for name in ("base", *ENVIRONMENTS)]
    for path in sorted((root / "config").glob("*.y*ml")):
        if path.name not in files:
            near = difflib.get_close_matches(path.name, files, n=1, cutoff=0)[0]
            raise LifecycleError(f"config/{path.name} is never read; is {near} meant?", "Rename or remove it.")
    tree, origins = dict[str, Any](), dict[str, str]()
    for origin in (f"config/{name}.yaml" for name in ("base", environment)):
        if (root / origin).exists():
            _merge(tree, origins, parse_yaml((root / origin).read_bytes(), origin, True), origin)
    for name, text in (os.environ if environ is None else environ).items():
        if name.startswith(PREFIX) and name not in (API_KEY, SIGNING_KEY):
            value = parse_yaml(text, name)
            for part in reversed(name.removeprefix(PREFIX).lower().split("__")):
                value = {part: value}
            _merge(tree, origins, value, name)
    if "bucket" in tree:
        raise LifecycleError(f"{origins['bucket']}: bucket is derived from storage", "Set storage to its address.")
    if "://" in (address := str(tree.get("storage"))):
        copies = Path(tree.get("working_copy", Settings().working_copy))
        tree |= {"bucket": address, "storage": copies / re.sub(r"[^\w.-]+", "-", address)}
        origins["bucket"] = origins["storage"]
    elif re.match(r"[a-z0-9]+:", address):
        problem = f"{origins['storage']}: {address} is neither a directory nor the address of a bucket"
        raise LifecycleError(problem, "An address is s3://NAME/PREFIX.")
    try:
        return Loaded(environment, Settings.model_validate(tree), origins)
    except ValidationError as error:
        raise LifecycleError("\n  ".join(_describe(each, origins) for each in error.errors()), HINT) from None


def _merge(tree: dict[str, Any], origins: dict[str, str], override: Any, origin: str, prefix: str = "") -> None:
    for name, value in override.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict) and isinstance(tree.setdefault(name, {}), dict):
            _merge(tree[name], origins, value, origin, f"{dotted}.")
        else:
            tree[name], origins[dotted] = value, origin


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _describe(error: Any, origins: Mapping[str, str]) -> str:
    dotted = ".".join(part for part in error["loc"] if isinstance(part, str))
    below = (origins[name] for name in origins if name.startswith(f"{dotted}."))
    origin = origins.get(dotted) or next(below, "settings")
    if error["type"] != "extra_forbidden":
        return f"{origin}: {dotted}: {error['msg']} (it is {error['input']!r})"
    known = [name for name, _ in _leaves(Settings().model_dump())] + list(Settings.model_fields)
    near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
    return f"{origin}: there is no setting {dotted}" + (f"; is {near[0]} meant?" if near else "")

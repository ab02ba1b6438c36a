"""Every setting, its default and where its value came from.

Defaults stand here; `config/base.yaml` and `config/<environment>.yaml` override them, and an environment variable
overrides those: LIFECYCLE_STORAGE, LIFECYCLE_SERVE__PORT (two underscores between section and name).
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lifecycle.deployments import ENVIRONMENTS
from lifecycle.errors import LifecycleError
from lifecycle.store import Store

PREFIX = "LIFECYCLE_"
Tree = dict[str, Any]


class Section(BaseModel):
    """A group of settings; a name that is not here is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Score(Section):
    """How a batch is scored."""

    chunk_rows: Annotated[int, Field(ge=1)] = 50_000


class Serve(Section):
    """How the service listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    max_rows: Annotated[int, Field(ge=1, description="Rows in one request.")] = 1000
    max_bytes: Annotated[int, Field(ge=1, description="Bytes in one request.")] = 1_000_000
    poll_seconds: Annotated[float, Field(gt=0, le=5)] = 1.0
    drain_seconds: Annotated[float, Field(gt=0, le=9)] = 8.0


class Tracking(Section):
    """The mirror of runs for people; nothing reads it to decide."""

    enabled: bool = True
    uri: Annotated[str, Field(description="Empty: a SQLite file in the storage.")] = ""


class Settings(Section):
    """All settings of one environment."""

    storage: Path = Path("storage")
    data: Path = Path("data")
    train: Train = Train()
    gate: Gate = Gate()
    score: Score = Score()
    serve: Serve = Serve()
    tracking: Tracking = Tracking()

    @property
    def store(self) -> Store:
        """The storage directory."""
        return Store(self.storage)


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
        if name.startswith(PREFIX):
            parts = name.removeprefix(PREFIX).lower().split("__")
            _merge(tree, origins, _nest(parts, _parse(value, name)), name)
    try:
        return Loaded(environment, Settings.model_validate(tree), origins)
    except ValidationError as error:
        raise LifecycleError("\n  ".join(_told(each, origins) for each in error.errors()), _MEND) from None


_MEND = "`make config` lists every setting with its value; lifecycle/src/lifecycle/settings.py says what each means."


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
        raise LifecycleError(f"{origin} is not YAML: {error}", "Mend what it names.") from error


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

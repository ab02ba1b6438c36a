"""Settings come from code, files and environment, list their origin, and refuse unknown names."""

import re
from pathlib import Path

import pytest

from lifecycle import settings
from lifecycle.errors import TAKE_ENVIRONMENT, TAKE_REASON, LifecycleError, complete_commands
from lifecycle.settings import Settings, load
from lifecycle.storage import Store
from support import buckets


def config(root: Path, **files: str) -> Path:
    (root / "config").mkdir(exist_ok=True)
    for name, text in files.items():
        (root / "config" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return root


def test_each_source_overrides_the_one_before_and_is_the_listed_origin(tmp_path: Path) -> None:
    config(tmp_path, base="serve: {port: 9000, max_rows: 5}\nstorage: base", staging="serve: {port: 9001}")
    environ = {"LIFECYCLE_STORAGE": "elsewhere", "LIFECYCLE_TRAIN__SEED": "7", "HOME": "x"}
    loaded = load(tmp_path, "staging", environ)
    assert loaded.settings.serve.port == 9001
    assert loaded.settings.serve.max_rows == 5
    assert loaded.settings.storage == Path("elsewhere")
    assert loaded.settings.train.seed == 7
    lines = list(loaded.lines())
    assert "serve.port = 9001  (config/staging.yaml)" in lines
    assert "serve.max_rows = 5  (config/base.yaml)" in lines
    assert "storage = 'elsewhere'  (LIFECYCLE_STORAGE)" in lines
    assert "train.holdout = 0.2  (default)" in lines
    assert load(tmp_path, "local", {}).settings.serve.port == 9000


def test_without_files_the_defaults_apply(tmp_path: Path) -> None:
    assert load(tmp_path, "local", {}).settings == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("storag: x", "config/base.yaml: there is no setting storag; is storage meant?"),
        ("serve: {prot: 1}", "config/base.yaml: there is no setting serve.prot; is serve.port meant?"),
        ("serve: {port: many}", "config/base.yaml: serve.port: Input should be a valid integer"),
        ("train: {holdout: 1.5}", "config/base.yaml: train.holdout: Input should be less than 0.6"),
        ("serve: 3", "config/base.yaml: serve: "),
        (
            "serve: {drain_seconds: 9.5}",
            "config/base.yaml: serve.drain_seconds: Input should be less than or equal to 9",
        ),
        ("- a", "config/base.yaml contains a list instead of settings"),
        ("a: [", "config/base.yaml is not YAML"),
    ],
)
def test_a_mistake_in_a_file_is_reported_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LifecycleError) as caught:
        load(config(tmp_path, base=text), "local", {})
    assert message in str(caught.value)


def test_a_mistyped_variable_and_an_unknown_environment_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match=r"LIFECYCLE_SERVE__PRT: there is no setting serve\.prt"):
        load(tmp_path, "local", {"LIFECYCLE_SERVE__PRT": "1"})
    with pytest.raises(LifecycleError, match="LIFECYCLE_STORAGE is not YAML"):
        load(tmp_path, "local", {"LIFECYCLE_STORAGE": "@x"})
    with pytest.raises(LifecycleError, match="no environment 'prod'"):
        load(tmp_path, "prod", {})


@pytest.mark.parametrize(("name", "near"), [("prod.yaml", "production"), ("staging.yml", "staging")])
def test_a_file_with_a_mistyped_name_is_refused(tmp_path: Path, name: str, near: str) -> None:
    (config(tmp_path) / "config" / name).write_text("storage: x", encoding="utf-8")
    with pytest.raises(LifecycleError, match=rf"config/{name} is never read; is {near}\.yaml meant\?"):
        load(tmp_path, "local", {})


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("Run `make train promote`.", "Run `make train promote REASON=drift ENVIRONMENT=staging`."),
        ("`make monitor`, then `make check`", "`make monitor ENVIRONMENT=staging`, then `make check`"),
        ("`make train REASON=stale`", "`make train REASON=stale ENVIRONMENT=staging`"),
        ("`make approve ENVIRONMENT=production`", "`make approve ENVIRONMENT=production`"),
    ],
)
def test_suggested_commands_name_environment_and_reason(text: str, completed: str) -> None:
    assert complete_commands(text, "staging", "drift") == completed
    assert complete_commands(text, "local", "manual") == text


def test_the_goals_that_take_environment_and_reason_are_those_of_the_makefile() -> None:
    makefile = (Path(settings.__file__).parents[2] / "lifecycle.mk").read_text(encoding="utf-8")
    recipes = {found[1]: found[0] for found in re.finditer(r"^([a-z]+):.*\n(?:\t.*\n)+", makefile, re.MULTILINE)}
    assert {goal for goal, recipe in recipes.items() if "$(environment)" in recipe} == TAKE_ENVIRONMENT
    assert {goal for goal, recipe in recipes.items() if "--reason,REASON" in recipe} == TAKE_REASON


def test_the_bucket_is_no_setting_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="LIFECYCLE_BUCKET: bucket is derived from storage"):
        load(tmp_path, environ={"LIFECYCLE_BUCKET": "s3://models/churn"})


def test_the_setting_storage_names_a_directory_or_a_bucket(tmp_path: Path) -> None:
    assert Settings().store == Store(Path("storage"))
    loaded = load(tmp_path, environ={"LIFECYCLE_STORAGE": "s3://models/churn", "LIFECYCLE_WORKING_COPY": "/copies"})
    assert loaded.settings.store == buckets.store(Path("/copies/s3-models-churn"), "s3://models/churn")
    assert "bucket = 's3://models/churn'  (LIFECYCLE_STORAGE)" in [*loaded.lines()]
    again = Settings.model_validate(loaded.settings.model_dump(mode="json"))
    assert again == loaded.settings


def test_credentials_of_spark_are_not_listed() -> None:
    variables = {"LIFECYCLE_ENGINE__MASTER": "sc://host:443/;token=abc"}
    variables |= {"LIFECYCLE_ENGINE__CONF": "{fs.s3a.secret.key: abc, spark.driver.memory: 2g}"}
    listed = [*load(Path("nowhere"), environ=variables).lines()]
    assert not any("abc" in line for line in listed)
    assert any(line.startswith("engine.conf.spark.driver.memory = '2g'") for line in listed)

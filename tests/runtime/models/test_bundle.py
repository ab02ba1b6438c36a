"""A damaged bundle and an environment that cannot load a bundle are refused with a message that names the cause."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from lifecycle.models import bundle as bundles
from lifecycle.models.bundle import Bundle, BundleError, open_version, verify
from lifecycle.models.predictor import Predictor
from lifecycle.storage import hash_of
from support.storages import CHURN, Storage


def rewrite(bundle: Bundle, name: str, content: bytes) -> Bundle:
    """Change a file and its recorded hash, so that only the golden rows can detect it."""
    (bundle.path / name).write_bytes(content)
    facts = bundle.facts | {"files": bundle.facts["files"] | {name: hash_of(bundle.path / name)}}
    (bundle.path / "bundle.json").write_text(json.dumps(facts))
    return verify(bundle.path)


def test_a_bundle_is_read_back_as_it_was_written(storage: Storage) -> None:
    bundle = storage.publish()
    assert open_version(storage.store, bundle.version).contract == CHURN
    assert bundle.features_sql == "SELECT 1"
    Predictor(bundle)


@pytest.mark.parametrize("name", ["model.skops", "contract.json", "golden.jsonl", "features.sql"])
def test_one_changed_byte_in_any_file_is_detected(storage: Storage, name: str) -> None:
    bundle = storage.publish()
    content = bytearray((bundle.path / name).read_bytes())
    content[-1] ^= 1
    (bundle.path / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"holds a changed {name}"):
        verify(bundle.path)


def test_missing_added_and_renamed_files_are_detected(storage: Storage) -> None:
    bundle = storage.publish()
    (bundle.path / "more.txt").write_text("")
    with pytest.raises(BundleError, match=r"holds more\.txt"):
        verify(bundle.path)
    (bundle.path / "more.txt").unlink()
    renamed = bundle.path.rename(bundle.path.with_name("renamed"))
    with pytest.raises(BundleError, match="has the version"):
        verify(renamed)
    bundle = Bundle(renamed.rename(bundle.path), bundle.facts)
    (bundle.path / "golden.jsonl").unlink()
    with pytest.raises(BundleError, match=r"lacks golden\.jsonl"):
        verify(bundle.path)


def test_a_folder_that_is_not_a_bundle_is_refused(tmp_path: Path, storage: Storage) -> None:
    with pytest.raises(BundleError, match=r"it has no bundle\.json"):
        verify(tmp_path)
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        verify(tmp_path)
    with pytest.raises(BundleError, match="holds no version 'x'"):
        open_version(storage.store, "x")


def test_an_environment_without_the_required_distributions_is_refused_by_name(storage: Storage) -> None:
    bundle = storage.publish(requires={"no-such-thing": "1.0", "numpy": "99.1", "skops": "0.1"})
    with pytest.raises(BundleError) as caught:
        Predictor(bundle)
    assert "no-such-thing 1.0 (not installed)" in str(caught.value)
    assert "numpy 99.1 (installed is " in str(caught.value)
    assert "skops 0.1" not in caught.value.problem


def test_outputs_that_differ_from_those_in_training_are_refused(storage: Storage) -> None:
    bundle = storage.publish()
    lines = [json.loads(line) for line in bundle.read("golden.jsonl").splitlines()]
    lines[2]["answer"] += 1e-5
    forged = rewrite(bundle, "golden.jsonl", "\n".join(map(json.dumps, lines)).encode())
    with pytest.raises(BundleError, match="golden row 3 of 5 differs"):
        Predictor(forged)
    for line in lines:
        line["answer"] = [0.5, 0.5]
    with pytest.raises(BundleError, match="their shape differs"):
        Predictor(rewrite(bundle, "golden.jsonl", "\n".join(map(json.dumps, lines)).encode()))
    with pytest.raises(BundleError, match="has no golden rows"):
        Predictor(rewrite(bundle, "golden.jsonl", b""))


def test_a_model_file_with_an_untrusted_function_is_not_loaded(storage: Storage) -> None:
    bundle = storage.publish()
    matrix = np.random.default_rng(0).normal(size=(20, 3))
    model = make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression()).fit(matrix, matrix[:, 0] > 0)
    with pytest.raises(BundleError, match="is not trusted"):
        Predictor(rewrite(bundle, "model.skops", skops.io.dumps(model)))


def test_bundles_share_a_feature_table_exactly_when_they_compute_the_same_features(storage: Storage) -> None:
    first = storage.publish()
    same = storage.publish(replace(CHURN, columns=(*CHURN.columns[:1], *CHURN.columns[2:])), made="20260102T000000")
    other = storage.publish(replace(CHURN, columns=CHURN.columns[:3]), made="20260103T000000")
    assert first.feature_set == same.feature_set != other.feature_set
    number = replace(CHURN.columns[0], kind="integer", max_length=None, low=0, high=2**24)
    keyed = storage.publish(replace(CHURN, columns=(number, *CHURN.columns[1:])), made="20260104T000000")
    assert keyed.feature_set != first.feature_set


def test_a_published_bundle_keeps_its_feature_set_when_the_formula_changes(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = storage.publish()
    monkeypatch.setattr(bundles, "feature_set", lambda *given: "another")
    assert verify(bundle.path).feature_set == bundle.feature_set != "another"


def test_stray_folders_are_not_listed_as_versions_and_microseconds_order_the_versions(storage: Storage) -> None:
    late, early = (storage.publish(made=f"20260101T000000{made}").version for made in ("000002", "000001"))
    for stray in (".half.draft", "lost+found", "notes", f"{late}.old"):
        (storage.store.bundles / stray).mkdir()
    assert storage.store.versions() == [early, late]


def test_a_bundle_whose_check_fails_does_not_appear(storage: Storage, tmp_path: Path) -> None:
    made = storage.publish()
    folder = tmp_path / "drafts/20260101T000000"
    checked: list[Bundle] = []

    def check(draft: Bundle) -> None:
        checked.append(draft)
        assert Predictor(draft).bundle.version not in storage.store.versions()
        raise BundleError("the outputs differ", "Train again.")

    facts = {name: made.facts[name] for name in ("kind", "levels", "requires")}
    with pytest.raises(BundleError, match="the outputs differ"):
        bundles.publish(storage.store, folder, facts, "20260202T000000", check)
    assert [path.name for path in storage.store.bundles.iterdir()] == [made.version]
    assert len(checked) == 1


def test_a_storage_that_cannot_be_written_is_named(storage: Storage) -> None:
    storage.store.root.mkdir()
    (storage.store.root / "bundles").write_text("a file where the folder should stand")
    with pytest.raises((bundles.LifecycleError, OSError)) as caught:
        storage.publish()
    assert "bundles" in str(caught.value)

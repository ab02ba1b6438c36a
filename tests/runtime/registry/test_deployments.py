"""Deployments: compare-and-swap, one audit line for each change, and files of other releases."""

import json
import threading
from typing import Any

import pytest

from lifecycle.errors import LifecycleError
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed, DeploymentChanged, read, swap
from lifecycle.storage import Store
from support.storages import Storage

STORAGES = ("directory", "bucket")


def promote(store: Store, seen: deployments.Deployment | None, version: str) -> deployments.Deployment:
    return swap(store, "local", seen, Deployed(version, 0.5), action="promote", who="ana", why="better")


def test_a_swap_keeps_the_version_before(storage: Storage) -> None:
    store = storage.store
    assert read(store, "local") is None
    first = promote(store, None, "a")
    second = promote(store, first, "b")
    assert read(store, "local") == second
    assert second.previous == Deployed("a", 0.5)
    assert second.revision == 2
    assert read(store, "production") is None


def test_a_swap_from_an_outdated_deployment_is_refused(storage: Storage) -> None:
    store = storage.store
    first = promote(store, None, "a")
    promote(store, first, "b")
    with pytest.raises(DeploymentChanged, match="the deployment of local changed") as caught:
        promote(store, first, "c")
    assert "make config" in caught.value.hint
    found = read(store, "local")
    assert found is not None
    assert found.current.version == "b"


def test_a_rollback_does_not_remember_the_version_that_it_left(storage: Storage) -> None:
    store = storage.store
    bad = promote(store, promote(store, None, "a"), "b")
    back = swap(store, "local", bad, Deployed("a", 0.5), action="rollback", who="ana", why="wrong", evidence={"x": 1})
    assert back.previous is None
    first, *_, last = map(json.loads, store.audit.read_text(encoding="utf-8").splitlines())
    assert (first["action"], first["evidence"]) == ("promote", {})
    assert (last["action"], last["evidence"], last["live"]) == (
        "rollback",
        {"x": 1},
        {"version": "a", "threshold": 0.5},
    )
    assert last["changed"].endswith("+00:00")


@pytest.mark.parametrize(("environment", "option"), [("local", ""), ("staging", " ENVIRONMENT=staging")])
def test_what_to_do_before_the_first_promotion(storage: Storage, environment: str, option: str) -> None:
    with pytest.raises(LifecycleError, match=f"nothing is deployed in {environment}") as caught:
        deployments.required(storage.store, environment)
    assert caught.value.hint == f"Run `make train promote{option}` first."


def test_one_of_several_simultaneous_swaps_succeeds(storage: Storage) -> None:
    store = storage.store
    seen = promote(store, None, "a")
    won: list[str] = []

    def race(name: str) -> None:
        try:
            promote(store, seen, name)
            won.append(name)
        except DeploymentChanged:
            pass

    threads = [threading.Thread(target=race, args=(f"v{at}",)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(store, "local")
    assert found is not None
    assert won == [found.current.version]
    assert len(store.audit.read_text().splitlines()) == 2


def test_a_damaged_file_and_an_unknown_environment_are_reported(storage: Storage) -> None:
    store = storage.store
    promote(store, None, "a")
    (store.deployments / "local.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LifecycleError, match=r"local\.json is not a valid deployment") as caught:
        read(store, "local")
    assert str(store.audit) in caught.value.hint
    with pytest.raises(LifecycleError, match="no environment 'prod'") as caught:
        read(store, "prod")
    assert caught.value.hint == "Use one of local, staging, production."


def test_fields_that_a_later_release_adds_are_ignored(storage: Storage) -> None:
    store = storage.store
    written = promote(store, promote(store, None, "a"), "b")
    rewrite(store, shadow="c", live={"version": "b", "threshold": 0.5, "weight": 1})
    assert read(store, "local") == written


def test_a_deployment_of_an_older_release_is_read_and_changed(storage: Storage) -> None:
    """Files of 0.1.0 have no owners."""
    store = storage.store
    promote(store, None, "a")
    path = store.deployments / "local.json"
    older = json.loads(path.read_bytes())
    assert older.pop("owners") == {}
    path.write_text(json.dumps(older), encoding="utf-8")
    seen = read(store, "local")
    assert seen is not None
    assert seen.owners == {}
    assert promote(store, seen, "b").previous == Deployed("a", 0.5)


def test_a_deployment_records_the_owners_of_its_time(storage: Storage) -> None:
    store, owners = storage.store, {"product": ["ana"]}
    swap(store, "local", None, Deployed("a", 0.5), action="promote", who="ana", why="better", owners=owners)
    found = read(store, "local")
    assert found is not None
    assert found.owners == owners


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "has format 2, this lifecycle reads 1"),
        ({"live": {"version": 3, "threshold": 0.5}}, r"is not a valid deployment \(live\.version: "),
        ({"live": {"version": "a", "threshold": "0.5"}}, r"is not a valid deployment \(live\.threshold: "),
        ({"previous": "a"}, r"is not a valid deployment \(previous: "),
    ],
)
def test_another_format_and_a_wrong_type_are_reported(storage: Storage, change: dict[str, Any], problem: str) -> None:
    store = storage.store
    promote(store, None, "a")
    rewrite(store, **change)
    with pytest.raises(LifecycleError, match=problem):
        read(store, "local")


def rewrite(store: Store, **change: Any) -> None:
    path = store.deployments / "local.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change), encoding="utf-8")

"""A deployment changes by compare-and-swap, once for each decision, and the audit remembers."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from lifecycle import deployments
from lifecycle.deployments import Live, Stale, audit_breaks, read, swap
from lifecycle.errors import LifecycleError
from lifecycle.store import Store


def promote(store: Store, seen: deployments.Deployment | None, version: str) -> deployments.Deployment:
    return swap(store, "local", seen, Live(version, 0.5), action="promote", who="ana", why="better")


def test_a_swap_remembers_what_answered_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read(store, "local") is None
    first = promote(store, None, "a")
    second = promote(store, first, "b")
    assert read(store, "local") == second
    assert second.previous == Live("a", 0.5)
    assert second.revision == 2
    assert read(store, "production") is None


def test_a_decision_on_an_old_view_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = promote(store, None, "a")
    promote(store, first, "b")
    with pytest.raises(Stale):
        promote(store, first, "c")
    found = read(store, "local")
    assert found is not None
    assert found.live.version == "b"


def test_of_racing_promotions_one_wins(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seen = promote(store, None, "a")
    won: list[str] = []

    def race(name: str) -> None:
        try:
            promote(store, seen, name)
            won.append(name)
        except Stale:
            pass

    threads = [threading.Thread(target=race, args=(f"v{at}",)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(store, "local")
    assert found is not None
    assert won == [found.live.version]
    assert len(store.audit.read_text().splitlines()) == 2


def test_an_edited_audit_line_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seen = None
    for name in "abc":
        seen = promote(store, seen, name)
    assert audit_breaks(store) == []
    lines = store.audit.read_text().splitlines()
    lines[1] = lines[1].replace('"ana"', '"bo"')
    store.audit.write_text("\n".join(lines) + "\n")
    assert audit_breaks(store) == [3]
    assert json.loads(lines[0])["who"] == "ana"


def test_a_damaged_deployment_and_an_unknown_environment_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    promote(store, None, "a")
    (store.deployments / "local.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LifecycleError, match=r"local\.json is not a deployment"):
        read(store, "local")
    with pytest.raises(LifecycleError, match="no environment 'prod'"):
        read(store, "prod")


def test_what_a_later_lifecycle_adds_is_left_unread(tmp_path: Path) -> None:
    store = Store(tmp_path)
    written = promote(store, promote(store, None, "a"), "b")
    rewrite(store, shadow="c", live={"version": "b", "threshold": 0.5, "weight": 1})
    assert read(store, "local") == written


def test_a_deployment_that_an_earlier_lifecycle_wrote_is_read_and_changed(tmp_path: Path) -> None:
    """Before OWNERS was read, there was no field for it."""
    store = Store(tmp_path)
    promote(store, None, "a")
    path = store.deployments / "local.json"
    older = json.loads(path.read_bytes())
    assert older.pop("owners") == {}
    path.write_text(json.dumps(older), encoding="utf-8")
    seen = read(store, "local")
    assert seen is not None
    assert seen.owners == {}
    assert promote(store, seen, "b").previous == Live("a", 0.5)


def test_a_deployment_remembers_who_answered_for_it(tmp_path: Path) -> None:
    store, owners = Store(tmp_path), {"product": ["ana"]}
    swap(store, "local", None, Live("a", 0.5), action="promote", who="ana", why="better", owners=owners)
    found = read(store, "local")
    assert found is not None
    assert found.owners == owners


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "has format 2, this lifecycle reads 1"),
        ({"live": {"version": 3, "threshold": 0.5}}, r"is not a deployment \(live\.version: "),
        ({"live": {"version": "a", "threshold": "0.5"}}, r"is not a deployment \(live\.threshold: "),
        ({"previous": "a"}, r"is not a deployment \(previous: "),
    ],
)
def test_another_format_and_a_wrong_type_are_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    store = Store(tmp_path)
    promote(store, None, "a")
    rewrite(store, **change)
    with pytest.raises(LifecycleError, match=told):
        read(store, "local")


def test_half_an_audit_line_is_a_break_and_spoils_no_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = promote(store, None, "a")
    with store.audit.open("ab") as file:
        file.write(b'{"after": "')
    assert audit_breaks(store) == [2]
    promote(store, first, "b")
    assert audit_breaks(store) == [2]
    assert json.loads(store.audit.read_bytes().splitlines()[2])["live"]["version"] == "b"


def rewrite(store: Store, **change: Any) -> None:
    path = store.deployments / "local.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change), encoding="utf-8")

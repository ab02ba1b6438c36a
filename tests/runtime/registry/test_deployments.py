"""A deployment changes by compare-and-swap, once for each decision, and the audit remembers."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from lifecycle.errors import LifecycleError
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed, Stale, audit_breaks, audit_halves, read, swap
from lifecycle.storage import Store


def promote(store: Store, seen: deployments.Deployment | None, version: str) -> deployments.Deployment:
    return swap(store, "local", seen, Deployed(version, 0.5), action="promote", who="ana", why="better")


def test_a_swap_remembers_what_answered_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read(store, "local") is None
    first = promote(store, None, "a")
    second = promote(store, first, "b")
    assert read(store, "local") == second
    assert second.previous == Deployed("a", 0.5)
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
    assert found.current.version == "b"


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
    assert won == [found.current.version]
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
    assert promote(store, seen, "b").previous == Deployed("a", 0.5)


def test_a_deployment_remembers_who_answered_for_it(tmp_path: Path) -> None:
    store, owners = Store(tmp_path), {"product": ["ana"]}
    swap(store, "local", None, Deployed("a", 0.5), action="promote", who="ana", why="better", owners=owners)
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


def crashed(tmp_path: Path, half: bytes = b'{"after": "') -> Store:
    """An audit of five lines, the third of which a killed writer left."""
    store = Store(tmp_path)
    seen = promote(store, promote(store, None, "a"), "b")
    with store.audit.open("ab") as file:
        file.write(half)
    promote(store, promote(store, seen, "c"), "d")
    return store


@pytest.mark.parametrize("half", [b"{", b'{"after": "', b'{"action": "promote", "why": "\xc3', b'{"why": "\0\0\0'])
def test_half_an_audit_line_is_told_is_no_break_and_spoils_no_other(tmp_path: Path, half: bytes) -> None:
    store = crashed(tmp_path, half)
    assert (audit_halves(store), audit_breaks(store)) == ([3], [])
    assert [json.loads(store.audit.read_bytes().splitlines()[at])["live"]["version"] for at in (1, 3)] == ["b", "c"]


def test_half_a_line_at_the_end_is_no_break_and_neither_are_two_in_a_row(tmp_path: Path) -> None:
    store = crashed(tmp_path)
    with store.audit.open("ab") as file:
        file.write(b'{"aft')
    assert (audit_halves(store), audit_breaks(store)) == ([3, 6], [])
    with store.audit.open("ab") as file:
        file.write(b'\n{"after')
    promote(store, read(store, "local"), "e")
    assert (audit_halves(store), audit_breaks(store)) == ([3, 6, 7], [])


def test_half_a_line_that_an_earlier_lifecycle_went_on_from_is_no_break(tmp_path: Path) -> None:
    half = b'{"after": "'
    lines = [b'{"after": ""}', half, json.dumps({"after": hashlib.sha256(half).hexdigest()}).encode()]
    store = Store(tmp_path)
    store.audit.write_bytes(b"\n".join(lines) + b"\n")
    assert (audit_halves(store), audit_breaks(store)) == ([2], [])


@pytest.mark.parametrize(
    ("line", "new", "told"),
    [
        (1, None, [1]),
        (2, None, [3]),
        (3, None, [3]),
        (4, None, [4]),
        (1, b'{"after": "', [2]),
        (2, b'{"after": "', [4]),
        (2, b'{"after": "x"}', [2, 4]),
        (3, b'{"after": "x', [4]),
        (3, b"{}", [3, 4]),
        (3, b"7", [3, 4]),
        (4, b"{", [5]),
        (4, b'{"after": ["x"]}', [4, 5]),
    ],
)
def test_a_line_that_was_edited_or_removed_around_half_a_line_is_a_break(
    tmp_path: Path, line: int, new: bytes | None, told: list[int]
) -> None:
    store = crashed(tmp_path)
    lines = store.audit.read_bytes().splitlines()
    lines[line - 1 : line] = [new] if new is not None else []
    store.audit.write_bytes(b"\n".join(lines) + b"\n")
    assert audit_breaks(store) == told


def rewrite(store: Store, **change: Any) -> None:
    path = store.deployments / "local.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change), encoding="utf-8")

"""The audit log: append-only lines, incomplete lines of killed writers, and the history of deployments."""

import json
from typing import Any

import pytest

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from support.storages import Storage

STORAGES = ("directory", "bucket")


def test_each_entry_is_one_line_and_lines_before_it_never_change(storage: Storage) -> None:
    store = storage.store
    deployments.append_audit(store, {"action": "promote", "why": "Zürich\nand more"})
    before = store.audit.read_bytes()
    deployments.append_audit(store, {"action": "rollback"})
    assert store.audit.read_bytes().startswith(before)
    assert [json.loads(line)["action"] for line in store.audit.read_bytes().splitlines()] == ["promote", "rollback"]
    assert deployments.audit_entries(store) == [
        {"action": "promote", "why": "Zürich\nand more"},
        {"action": "rollback"},
    ]


@pytest.mark.parametrize("half", [b"{", b'{"after": "', b'{"action": "promote", "why": "\xc3', b'{"why": "\0\0\0'])
def test_an_incomplete_line_is_skipped_and_does_not_swallow_the_next(storage: Storage, half: bytes) -> None:
    store = storage.store
    deployments.append_audit(store, {"at": 1})
    with store.audit.open("ab") as file:
        file.write(half)
    assert deployments.audit_entries(store) == [{"at": 1}]
    deployments.append_audit(store, {"at": 2})
    assert deployments.audit_entries(store) == [{"at": 1}, {"at": 2}]


def test_an_audit_log_that_does_not_exist_is_empty(storage: Storage) -> None:
    assert deployments.audit_entries(storage.store) == []


def test_the_history_lists_periods_and_finds_the_one_of_a_timestamp(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = storage.store, None
    for day, version in enumerate("abc", 1):
        monkeypatch.setattr(timestamps, "clock", lambda day=day: timestamps.parse(f"2026-01-0{day}"))
        given: dict[str, Any] = {"action": "promote", "who": "ana", "why": f"because {version}"}
        seen = deployments.swap(store, "local", seen, Deployed(version, 0.5), **given)
    deployments.append_audit(store, {"action": "approve", "environment": "local"})
    periods = deployments.periods(store, "local")
    assert [(each.version, each.first, each.last) for each in periods] == [
        ("a", timestamps.parse("2026-01-01"), timestamps.parse("2026-01-02")),
        ("b", timestamps.parse("2026-01-02"), timestamps.parse("2026-01-03")),
        ("c", timestamps.parse("2026-01-03"), None),
    ]
    assert deployments.periods(store, "staging") == []
    assert deployments.period_at(periods, timestamps.parse("2026-01-02")).version == "b"
    assert deployments.period_at(periods, timestamps.parse("2026-01-02T23:59:59Z")).version == "b"
    assert [each.entry["why"] for each in periods] == ["because a", "because b", "because c"]
    assert deployments.period_at(periods, timestamps.parse("2026-06-01")).version == "c"
    with pytest.raises(LifecycleError, match="nothing was deployed at 2025-12-31") as caught:
        deployments.period_at(periods, timestamps.parse("2025-12-31"))
    assert "make history" in caught.value.hint


def test_a_change_that_was_logged_and_not_made_is_not_in_the_history(storage: Storage) -> None:
    store, seen = storage.store, None
    for version, action in [("a", "promote"), ("b", "promote"), ("a", "rollback"), ("c", "promote")]:
        seen = deployments.swap(store, "local", seen, Deployed(version, 0.5), action=action, who="ana", why="")
        # Another one was logged before, and one after; neither was made.
        lines = store.audit.read_text().splitlines()
        other = json.loads(lines[-1]) | {"live": {"version": "x", "threshold": 0.5}}
        later = other | {"revision": other["revision"] + 1, "environment": "staging"}
        changed = [*lines[:-1], json.dumps(other), lines[-1], json.dumps(later)]
        store.audit.write_text("\n".join(changed) + "\n")
    with store.audit.open("a") as log:
        log.write(json.dumps(later | {"environment": "local"}) + "\n")
    assert [each.version for each in deployments.periods(store, "local")] == ["a", "b", "a", "c"]


def test_lines_of_older_releases_with_a_hash_of_the_line_before_are_read(storage: Storage) -> None:
    store = storage.store
    line = {"after": "", "action": "promote", "environment": "local", "revision": 1, "previous": None, "who": "ana"}
    line |= {"live": {"version": "a", "threshold": None}, "why": "", "changed": "2025-11-02T10:00:00+00:00"}
    store.root.mkdir()
    store.audit.write_text(json.dumps(line) + "\n")
    deployments.append_audit(
        store, line | {"live": {"version": "b", "threshold": 0.5}, "changed": "2025-11-03T10:00:00+00:00"}
    )
    assert [(each.version, each.threshold) for each in deployments.periods(store, "local")] == [
        ("a", None),
        ("b", 0.5),
    ]

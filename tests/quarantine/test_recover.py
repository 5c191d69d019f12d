"""Recovery: what is completed, what is put back, and what is only reported."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from faults import quarantine_driver as driver
from quarantine.actions import COPY, NEW, carry_out, order, quarantined, states
from twinwatch.fs import linux
from twinwatch.quarantine import Quarantine, directories, records


def test_recovery_leaves_alone_what_it_cannot_interpret(root: Path) -> None:
    moved = carry_out(root, order(root))
    private = root / ".twinwatch/quarantine"
    record = private / "info" / f"{moved.record.id}.json"
    (private / "info" / f"{'2' * 32}.json").write_bytes(record.read_bytes())
    record.write_text('{"version": 99}')
    (private / "info" / "notes.txt").write_text("an admin was here")
    (private / "files" / "found").write_bytes(NEW)
    (private / "info" / f"{'1' * 32}.tmp").write_text("{")
    found = {recovered.id: recovered for recovered in Quarantine(root).recover()}
    assert {key: value.outcome for key, value in found.items()} == {
        moved.record.id: "unreadable",
        "2" * 32: "unreadable",
        "notes.txt": "unreadable",
        "found": "stray",
    }
    assert all(recovered.needs_person for recovered in found.values())
    assert {path.read_bytes() for path in quarantined(root)} == {COPY, NEW}
    assert {path.name for path in (private / "info").iterdir()} == {"notes.txt", f"{'2' * 32}.json", record.name}
    assert list(Quarantine(root).records()) == []


def _held(root: Path) -> Path:
    return root / ".twinwatch/quarantine/files" / driver.ID


def _go_half_way_home(root: Path) -> None:
    os.link(_held(root), root / "sub/copy.jpg")


@pytest.mark.parametrize(
    ("state", "restored_to", "happen", "outcome"),
    [
        ("intended", None, lambda root: None, "quarantined"),
        ("intended", None, lambda root: (root / "original.jpg").write_bytes(NEW), "put back"),
        ("intended", None, lambda root: (root / "original.jpg").unlink(), "put back"),
        ("intended", None, lambda root: _held(root).write_bytes(NEW), "put back"),
        ("intended", None, lambda root: os.link(_held(root), root / "other"), "put back"),
        ("intended", b"sub/copy.jpg", lambda root: None, "put back"),
        ("intended", b"sub/copy.jpg", _go_half_way_home, "put back"),
        ("quarantined", None, _go_half_way_home, "put back"),
        ("restoring", b"sub/copy.jpg", lambda root: None, "restored"),
        ("restoring", b"sub/copy.jpg", _go_half_way_home, "restored"),
        ("restoring", b"sub/copy.jpg", lambda root: (root / "sub/copy.jpg").write_bytes(NEW), "restored"),
    ],
)
def test_recovery_finishes_only_what_may_stand(
    root: Path,
    state: records.RecordState,
    restored_to: bytes | None,
    happen: Callable[[Path], object],
    outcome: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if happen is _go_half_way_home:  # which a rename cannot do
        monkeypatch.setattr(linux, "rename_no_replace", driver.refuse)
    moved = carry_out(root, replace(order(root), id=driver.ID))
    with directories.open_dirs(root) as dirs:
        records.write(dirs.info, replace(moved.record, state=state, restored_to=restored_to))
    happen(root)
    held, taken = _held(root).read_bytes(), (root / "sub/copy.jpg").exists() and happen is not _go_half_way_home
    (settled,) = Quarantine(root).recover()
    assert (settled.outcome, settled.needs_person) == (outcome, False)
    assert Quarantine(root).recover() == []
    home = root / ("sub/copy.restored-1.jpg" if taken else "sub/copy.jpg")
    assert [path.read_bytes() for path in quarantined(root)] == ([held] if outcome == "quarantined" else [])
    assert home.exists() is (outcome != "quarantined")
    assert not home.exists() or home.read_bytes() == held
    assert len(list((root / "sub").iterdir())) == home.exists() + taken
    assert not taken or (root / "sub/copy.jpg").read_bytes() == NEW


def test_recovery_puts_back_what_was_written_late(root: Path) -> None:
    moved = carry_out(root, order(root))
    with (root / os.fsdecode(moved.quarantined_to)).open("ab") as late:
        late.write(NEW)
    (recovered,) = Quarantine(root).recover()
    assert recovered.outcome == "put back"
    assert states(root) == ["aborted"]  # nobody asked for it, so it may be judged again
    assert (root / "sub/copy.jpg").read_bytes() == COPY + NEW
    assert Quarantine(root).recover() == []


def test_recovery_names_what_was_taken_out_by_hand(root: Path) -> None:
    moved = carry_out(root, order(root))
    (root / os.fsdecode(moved.quarantined_to)).rename(root / "taken.jpg")
    (recovered,) = Quarantine(root).recover()
    assert (recovered.outcome, recovered.needs_person) == ("missing", False)
    assert Quarantine(root).recover() == []

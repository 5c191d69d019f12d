"""Fixtures of the command-line tests: a folder of pictures, and a catalogue with verdicts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from paint import paint
from PIL import ImageOps

from daemon_site import Site
from twinwatch.fs import FileIdentity
from twinwatch.store import Action, Kind, QueueState, Verdict, VerdictState, open_store


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(4):
        paint(number).save(folder / f"p{number}.jpg", quality=90)
        os.utime(folder / f"p{number}.jpg", (1_600_000_000, 1_600_000_000))
    shutil.copyfile(folder / "p0.jpg", folder / "same.jpg")
    ImageOps.mirror(paint(1)).save(folder / "mirrored.jpg", quality=70)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.fixture
def judged(site: Site) -> Site:
    """A site whose catalogue holds a verdict of each kind and a file that is no picture, as a daemon leaves them."""
    (site.home / "state").mkdir()
    store = open_store(site.home / "state" / "catalog.db")
    root = store.roots.add(site.share, (1, 2), 3)
    seen = FileIdentity(1, 2, 3, 4, 5, 1)
    store.queue.add(root.id, b"holiday/broken.jpg", seen, preexisting=False, arrived_ns=1, state=QueueState.WAITING)
    file = store.files.at(root.id, b"holiday/broken.jpg")
    assert file is not None
    store.files.mark_unreadable(file.id, "truncated")
    for number, (action, state) in enumerate(
        [("flagged", "done"), ("quarantined", "done"), ("quarantined", "restored"), ("quarantined", "dismissed")]
    ):
        over = state in ("restored", "dismissed")
        case = Verdict(
            id=f"{number}" * 32, file_id=None, time=f"2026-01-0{number + 1}T00:00:00.000Z",
            root=os.fsencode(site.share), path=b"holiday/the sea %d.jpg" % number, sha256="aa",
            original_root=os.fsencode(site.share), original_path=b"sea.jpg", original_sha256="bb", kind=Kind.NEAR,
            distance=0.25, cluster=3, evidence=0.9, edit="recompressed", action=Action(action), better=number == 0,
            quarantined_to=b".twinwatch/quarantine/files/%d" % number if action == "quarantined" else None,
            restored_to=b"holiday/back %d.jpg" % number if over else None, state=VerdictState(state), logged=state,
            event_at="2026-02-03T04:05:06.000Z" if over else None,
        )  # fmt: skip
        store.verdicts.add(case)
    store.commit()
    store.close()
    return site

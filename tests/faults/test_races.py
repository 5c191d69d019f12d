"""Users who replace, rewrite, lengthen or delete a file, or its original, at any moment of a move."""

import contextlib
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fault_counts import Counting, scaled
from faults import quarantine_driver as driver
from twinwatch.fs import linux
from twinwatch.quarantine import ChangedError, Quarantine

COPY, ORIGINAL, NEW = b"the copy " * 999, b"the original " * 999, b"something new " * 999

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(params=["native", "fallback"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root on a file system that can rename without replacing, or as on one that cannot."""
    if request.param == "fallback":
        monkeypatch.setattr(linux, "rename_no_replace", driver.refuse)
    (tmp_path / "sub").mkdir()
    Quarantine(tmp_path).prepare()
    return tmp_path


def _swap(path: Path, new: bytes) -> None:
    beside = path.with_suffix(".part")
    beside.write_bytes(new)
    beside.replace(path)


def _rewrite(path: Path, new: bytes) -> None:
    with path.open("r+b") as file:
        file.write(new)
        file.truncate()


def _append(path: Path, new: bytes) -> None:
    with path.open("ab") as file:
        time.sleep(0.001)
        file.write(new)


def _unlink(path: Path, new: bytes) -> None:
    path.unlink()


Act = Callable[[Path, bytes], None]
ACTS: dict[Act, str] = {_swap: "replacing", _rewrite: "rewriting", _append: "lengthening", _unlink: "deleting"}


@pytest.mark.parametrize("name", ["sub/copy.jpg", "original.jpg"])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("leases", [True, False])
def test_races_lose_and_misplace_nothing(
    root: Path,
    act: Act,
    name: str,
    leases: bool,
    monkeypatch: pytest.MonkeyPatch,
    counting: Counting,
) -> None:
    if not leases:
        monkeypatch.setattr(linux, "_take_lease", lambda fd: False)
    quarantine, random_ = Quarantine(root), random.Random(7)
    move_s = 0.05
    with counting(f"{ACTS[act]} of a copy or an original while it is moved") as tally:
        for number in range(scaled(11, 320)):
            move_s = _race(root, quarantine, act, name, number, random_.random() * move_s * 1.2, move_s)
            tally.inject()
            shutil.rmtree(root / ".twinwatch")
            quarantine = Quarantine(root)
            quarantine.prepare()


def _race(root: Path, quarantine: Quarantine, act: Act, name: str, number: int, delay_s: float, move_s: float) -> float:
    """Have a user act `delay_s` seconds after a move starts; return how long a move takes."""
    (root / "sub/copy.jpg").write_bytes(COPY)
    (root / "original.jpg").write_bytes(ORIGINAL)
    new, wanted = b"%d" % number + NEW, driver.order_for(root, "sub/copy.jpg")
    acted = threading.Event()

    def user() -> None:
        time.sleep(delay_s)
        # After the move there is no file at the path, as after any rename.
        with contextlib.suppress(FileNotFoundError):
            act(root / name, new)
            acted.set()

    with (root / "original.jpg").open("rb") as original:
        thread = threading.Thread(target=user)
        thread.start()
        started_s = time.monotonic()
        with contextlib.suppress(ChangedError):
            quarantine.move(wanted, original.fileno())
            # The user came too late, so adapt the next delay to the time that a move takes now.
            move_s = time.monotonic() - started_s
        thread.join()
    # Without leases, a writer may have written to the open file after the move. Then recovery puts it back.
    quarantine.recover()
    held = [path.read_bytes() for path in (root / ".twinwatch/quarantine/files").iterdir()]
    users = [path for path in root.rglob("*") if path.is_file() and ".twinwatch" not in path.parts]
    files = {str(path.relative_to(root)): path.read_bytes() for path in users}
    assert held in ([], [COPY])
    assert set(files) <= {"sub/copy.jpg", "original.jpg"}
    if not held and not (act is _unlink and name == "sub/copy.jpg" and acted.is_set()):
        assert "sub/copy.jpg" in files
    if acted.is_set() and act is not _unlink:
        assert files[name].endswith(new)
    for record in quarantine.records():
        if record.state == "quarantined":
            (root / "sub/copy.jpg").unlink(missing_ok=True)
            assert quarantine.restore(record.id).path == b"sub/copy.jpg"
    return move_s

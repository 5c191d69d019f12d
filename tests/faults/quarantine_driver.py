"""A program that carries out one operation of a quarantine, for tests that kill it or make its system calls fail.

It answers by its exit status, DONE, FAULT or REFUSED, as a write to standard output may be made to fail too. It calls
getppid right before and right after the operation, so that a trace shows which system calls belong to it.
"""

import contextlib
import os
import sys
from pathlib import Path

from twinwatch.errors import TwinwatchError
from twinwatch.fs import FileIdentity, hash_file, linux, open_beneath, open_root
from twinwatch.quarantine import MoveOrder, Quarantine, StorageFaultError

ID = "0123456789abcdef0123456789abcdef"
DONE, FAULT, REFUSED = 0, 10, 11


def main(what: str, mode: str, root: Path, path: str) -> int:
    if mode == "fallback":
        linux.rename_no_replace = refuse  # type: ignore[assignment]  # as on a file system without it
    quarantine = Quarantine(root)
    list(quarantine.records())
    with (root / "original.jpg").open("rb") as original:
        order = order_for(root, path) if what == "move" else None
        os.getppid()
        try:
            if order:
                quarantine.move(order, original.fileno())
            elif what == "restore":
                quarantine.restore(ID)
            elif what == "prepare":
                quarantine.prepare()
            else:
                quarantine.recover()
        except StorageFaultError:
            outcome = FAULT
        except TwinwatchError:
            outcome = REFUSED
        else:
            outcome = DONE
        os.getppid()
    return outcome


def order_for(root: Path, path: str, record_id: str = ID) -> MoveOrder:
    """Return the order that a daemon would give for this file as a copy of `original.jpg`, as both are now."""
    with contextlib.ExitStack() as stack:
        root_fd = stack.enter_context(linux.closing(open_root(root)))
        copy_fd = stack.enter_context(linux.closing(open_beneath(root_fd, os.fsencode(path))))
        original_fd = stack.enter_context(linux.closing(open_beneath(root_fd, b"original.jpg")))
        return MoveOrder(
            id=record_id,
            path=os.fsencode(path),
            identity=FileIdentity.of(os.fstat(copy_fd)),
            sha256=hash_file(copy_fd),
            original_root=os.fspath(root),
            original_path=b"original.jpg",
            original_sha256=hash_file(original_fd),
            kind="exact",
            distance=0.0,
            evidence=1.0,
            cluster=7,
            edit="none",
            bundle_id="default",
        )


def refuse(*_: object) -> None:
    raise OSError(22, "Invalid argument")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))

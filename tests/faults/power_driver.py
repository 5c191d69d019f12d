"""A program that writes files as a user does, and moves and restores them, on a disk whose power the test cuts.

It takes one of `steps` for each line that it reads, and prints a line when the step is finished. With `lazy`, fsync
does nothing for the quarantine, but still works for the user's writes.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

if __name__ == "__main__":  # run as a script, which has no package
    sys.path.insert(0, os.fspath(Path(__file__).parents[1]))

from faults import quarantine_driver as driver
from twinwatch.fs import linux
from twinwatch.quarantine import Quarantine

BATCH = 4
ORIGINAL = b"the original " * 500
Step = tuple[Literal["write", "move", "restore"], int]


def steps() -> Iterator[Step]:
    """Yield the steps without end: four files are written, all four are moved, and every second one is restored."""
    first = 0
    while True:
        batch = range(first, first + BATCH)
        yield from (("write", number) for number in batch)
        yield from (("move", number) for number in batch)
        yield from (("restore", number) for number in batch[::2])
        first += BATCH


def path_of(number: int) -> str:
    return f"sub{number % 3}/copy{number}.jpg"


def content_of(number: int) -> bytes:
    return f"copy {number} ".encode() * (100 + 797 * (number % 5))


def id_of(number: int) -> str:
    return f"{number:032x}"


def main(root: Path, sync: str) -> None:
    fsync = os.fsync
    if sync == "lazy":
        os.fsync = lambda fd: None
    quarantine = Quarantine(root)
    for (step, number), _ in zip(steps(), sys.stdin.buffer, strict=False):
        if step == "write":
            path = root / path_of(number)
            with path.open("wb", buffering=0) as file, linux.closing(os.open(path.parent, os.O_RDONLY)) as folder_fd:
                file.write(content_of(number))
                fsync(file.fileno())
                fsync(folder_fd)
        elif step == "move":
            with (root / "original.jpg").open("rb") as original:
                quarantine.move(driver.order_for(root, path_of(number), id_of(number)), original.fileno())
        else:
            quarantine.restore(id_of(number))
        print(flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

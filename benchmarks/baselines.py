"""Runs one other duplicate finder on a folder, for comparison with `twinwatch scan`.

`baselines.py NAME FOLDER` prints each group of similar pictures as one line, a JSON list of file names. Each tool runs
as its manual says, with its own default threshold, in two processes if it can. `floor` is not a tool: it does only what
every tool has to do, which is to read, hash and decode the files.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

PROCESSES = 2
_DRAFT = (128, 128)  # pixels to which a JPEG is decoded, the same as for twinwatch's encoder
_PHASH_BITS = 10  # of 64 that may differ: the default of imagededup

Groups = Iterable[Iterable[str]]
Result = TypeVar("Result")


def floor(folder: Path) -> Groups:
    """Read, hash and decode every picture; group files with the same bytes."""
    paths = files(folder)
    same: dict[str, list[str]] = {}
    for path, digest in zip(paths, mapped(_read, paths), strict=True):
        same.setdefault(digest, []).append(path.name)
    return [names for names in same.values() if len(names) > 1]


def phash(folder: Path) -> Groups:
    """Compare the pHash (imagehash) of every pair of pictures."""
    paths = files(folder)
    hashes = mapped(_phash, paths)
    return [
        (paths[later].name, paths[earlier].name)
        for later, bits in enumerate(hashes)
        for earlier in range(later)
        if (bits ^ hashes[earlier]).bit_count() <= _PHASH_BITS
    ]


def findimagedupes(folder: Path) -> Groups:
    """Run Debian's findimagedupes, which has one process only."""
    command = ["findimagedupes", "--recurse", "--quiet", "--", str(folder)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    return [[Path(name).name for name in line.split()] for line in found.splitlines()]


def difpy(folder: Path) -> Groups:
    """Run difPy, which compares the pixels of every pair of small pictures."""
    import difPy

    built = difPy.build(str(folder), processes=PROCESSES, show_progress=False)
    # same_dim=False, or it would find no copy that was resized or cropped.
    found = difPy.search(built, similarity="similar", same_dim=False, processes=PROCESSES, show_progress=False).result
    return [[Path(name).name, *(Path(other).name for other, _ in alike)] for name, alike in found.items()]


def fastdup(folder: Path) -> Groups:
    """Run fastdup, which searches the nearest neighbours of its own embeddings."""
    os.environ["SENTRY_OPT_OUT"] = "1"
    import fastdup as tool

    with tempfile.TemporaryDirectory() as scratch:
        run = tool.create(work_dir=scratch, input_dir=str(folder))
        run.run(num_threads=PROCESSES, verbose=False, overwrite=True, print_summary=False)
        alike = run.similarity()
        return [(Path(a).name, Path(b).name) for a, b in zip(alike.filename_from, alike.filename_to, strict=True)]


BASELINES: dict[str, Callable[[Path], Groups]] = {
    each.__name__: each for each in (floor, phash, findimagedupes, difpy, fastdup)
}


def files(folder: Path) -> list[Path]:
    """Return the files of a folder, without its subfolders, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def mapped(work: Callable[[Path], Result], paths: list[Path]) -> list[Result]:
    """Call `work` with each path in two processes and return the results in order."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        return pool.map(work, paths, chunksize=max(1, min(16, len(paths) // 20)))


def _read(path: Path) -> str:
    from PIL import Image

    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", _DRAFT)
        image.load()
    return hashlib.sha256(data).hexdigest()


def _phash(path: Path) -> int:
    import imagehash
    from PIL import Image

    with Image.open(path) as image:
        return int(str(imagehash.phash(image)), 16)


def main() -> None:
    name, folder = sys.argv[1:]
    # The tools print to stdout, so it is sent to stderr, and the answer goes to a copy of the original stdout.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        for group in BASELINES[name](Path(folder)):
            print(json.dumps(list(group)), file=answer)


if __name__ == "__main__":
    main()

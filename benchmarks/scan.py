"""`twinwatch scan` against imagehash's pHash on two processes, over one folder in one run; prints the ratio of times.

pHash only computes its hashes here and compares none, so the ratio is in its favour. Needs `pip install ImageHash`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paint import paint
from PIL import Image

try:
    import imagehash
except ImportError:
    imagehash = None


def phash(path: Path) -> str:
    with Image.open(path) as image:
        return str(imagehash.phash(image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="pictures; painted ones if not given")
    parser.add_argument("--count", type=int, default=300, help="how many to paint")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        if arguments.folder is None:
            for number in range(arguments.count):
                paint(number, 1024, 768).save(folder / f"{number}.jpg", quality=88)
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        started_s = time.perf_counter()
        command = [
            sys.executable,
            "-c",
            "from twinwatch.cli import main; main()",
            "scan",
            str(folder),
            "--format",
            "csv",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        ours_s = time.perf_counter() - started_s
        print(f"twinwatch scan: {len(paths)} pictures in {ours_s:.2f} s")
        if imagehash is None:
            print("imagehash is not installed, so there is nothing to compare with: pip install ImageHash")
            return
        started_s = time.perf_counter()
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.map(phash, paths, chunksize=16)
        theirs_s = time.perf_counter() - started_s
        print(
            f"imagehash pHash, two processes: {theirs_s:.2f} s; twinwatch has {theirs_s / ours_s:.2f} times its speed"
        )


if __name__ == "__main__":
    main()

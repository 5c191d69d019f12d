"""Milliseconds on one core to decode a picture, to embed it, and to compare a pair of pictures for evidence.

Evidence is timed as in the daemon, with both pictures decoded already: for edited copies and for non-copies.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from paint import paint

from twinwatch.calibration import ALL_EDITS, pictures_below
from twinwatch.decoding import MAX_MEGAPIXELS, decode_exact, decode_fit
from twinwatch.evidence import EVIDENCE_SIDE, compare
from twinwatch.search import Encoder, bundle_path, load_bundle

_PAIR_EDITS = ("mirror", "crop_20", "rotate_5", "caption", "jpeg_10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="photos; painted ones if not given")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--count", type=int, default=40, help="how many photos are used")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = load_bundle(bundle_path(arguments.bundle))
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        if arguments.folder is None:
            for number in range(arguments.count):
                paint(number, 1024, 768).save(folder / f"{number}.jpg", quality=88)
        found = pictures_below(folder)
        stored = [path.read_bytes() for path in found[:: max(1, len(found) // arguments.count)][: arguments.count]]
    encoder = Encoder(bundle, "cpu", threads=1)
    width, height = bundle.input_size
    for batch in (1, 8, 64):
        pixels = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
        took = milliseconds(partial(encoder.embed, pixels), 60) / batch
        print(f"encoder, batches of {batch:2}: {took:6.2f} a picture")
    decoding = [milliseconds(partial(decode_exact, data, bundle.input_size, MAX_MEGAPIXELS), 3) for data in stored]
    print(f"decoding to {width}x{height}:  {np.median(decoding):6.2f} a picture (median of {len(stored)})")
    pictures = [decode_fit(data, EVIDENCE_SIDE, MAX_MEGAPIXELS).pixels for data in stored]
    for name in _PAIR_EDITS:
        pairs = [(picture, ALL_EDITS[name](picture)) for picture in pictures]
        times = [once(partial(compare, *pair)) for pair in pairs]
        print(f"evidence, {name:9}  {np.median(times):6.1f} a pair, 95% within {np.quantile(times, 0.95):.1f}")
    times = [once(partial(compare, *pair)) for pair in itertools.pairwise(pictures)]
    print(f"evidence, stranger   {np.median(times):6.1f} a pair, 95% within {np.quantile(times, 0.95):.1f}")


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Return the median time of `times` runs, after one to warm up."""
    work()
    return float(np.median([once(work) for _ in range(times)]))


def once(work: Callable[[], object]) -> float:
    """Return the time of one run in milliseconds."""
    started_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started_s)


if __name__ == "__main__":
    main()

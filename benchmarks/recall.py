"""Recall by edit and false positives of `twinwatch scan`, from files to verdicts.

The pictures of a folder are split by --seed into a library and new pictures. Both are written to one folder, with every
edit of some library pictures; the edited copies are the youngest files. The folder is scanned once. A copy counts as
found when the verdict names its own original. The two parts of a folder (--part 0 and 1) share no picture: tune on one
and report the other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from twinwatch.calibration import ALL_EDITS, EDITS, HARD_EDITS, OTHER_EDITS, SEED_EDITS, edited_bytes, pictures_below

_OLD_S, _AGE_S = 1_000_000_000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edited", type=int, default=50, help="how many library pictures are edited every way")
    parser.add_argument("--part", type=int, choices=(0, 1), help="only every second picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    paths = pictures_below(arguments.folder)
    if arguments.part is not None:
        paths = paths[arguments.part :: 2]
    order = np.random.default_rng(arguments.seed).permutation(len(paths))
    library = [paths[row] for row in order[: len(paths) // 2]]
    with tempfile.TemporaryDirectory(prefix="twinwatch-recall-") as scratch:
        lay_out(Path(scratch), library, [paths[row] for row in order[len(library) :]], arguments.edited)
        copies = scan(Path(scratch), arguments.bundle)
    report(copies, min(arguments.edited, len(library)), len(paths), arguments.json)


def lay_out(folder: Path, library: list[Path], new: list[Path], edited: int) -> None:
    """Write originals as `library-N` and `new-N` and copies as `edit--N.jpg`, each file ten seconds younger."""
    age_s = _OLD_S
    for kind, originals in (("library", library), ("new", new)):
        for number, path in enumerate(originals):
            target = folder / f"{kind}-{number:05}{path.suffix.lower()}"
            shutil.copyfile(path, target)
            age_s += _AGE_S
            os.utime(target, (age_s, age_s))
    for number, path in enumerate(library[:edited]):
        for name, data in zip(ALL_EDITS, edited_bytes(path), strict=True):
            target = folder / f"{name}--{number:05}.jpg"
            target.write_bytes(data)
            age_s += _AGE_S
            os.utime(target, (age_s, age_s))


def scan(folder: Path, bundle: str) -> list[tuple[str, str, bool]]:
    """Scan a folder. Returns (name of the copy, name of the original, whether their bytes are equal) for each copy."""
    twinwatch = Path(sys.executable).with_name("twinwatch")
    command = [twinwatch, "scan", folder, "--bundle", bundle, "--format", "jsonl"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [(Path(each["path"]).name, Path(each["duplicate_of"]).name, each["kind"] == "exact") for each in found]


def report(copies: list[tuple[str, str, bool]], edited: int, pictures: int, target: Path | None) -> None:
    """Print the figures of a scan and write them to `target`, if given, as JSON."""
    right: Counter[str] = Counter()
    siblings: Counter[str] = Counter()  # copies whose verdict names another edit of their original
    named = {copy for copy, _, _ in copies}
    misnamed, false_positives = [], []
    for copy, original, exact in copies:
        name, _, number = copy.partition("--")
        if not number:
            false_positives.append((copy, original))
        elif Path(original).stem == f"library-{Path(number).stem}" or (exact and original.endswith(f"--{number}")):
            right[name] += 1  # two edits of a grey picture can give the same bytes
        else:
            misnamed.append((copy, original))
            siblings[name] += original.endswith(f"--{number}")
    missed = [f"{name}--{number:05}" for name in ALL_EDITS for number in range(edited)]
    missed = [each for each in missed if f"{each}.jpg" not in named]
    recall = {name: right[name] / edited for name in ALL_EDITS}
    found = {name: (right[name] + siblings[name]) / edited for name in ALL_EDITS}
    groups = {"the 18 edits": EDITS, "four of them": SEED_EDITS, "the harder": HARD_EDITS, "others": OTHER_EDITS}
    means = {title: float(np.mean([recall[name] for name in edits])) for title, edits in groups.items()}
    means_found = {title: float(np.mean([found[name] for name in edits])) for title, edits in groups.items()}
    for name, share in recall.items():
        print(f"{name:16}{100 * share:6.1f}")
    for title, mean in means.items():
        print(
            f"mean of {title}: {100 * mean:.2f}%; with those named after another edit {100 * means_found[title]:.2f}%"
        )
    print(f"{edited} pictures edited; {len(false_positives)} of {pictures} pictures accused: {false_positives}")
    print(f"{len(misnamed)} copies named as copies of another, {siblings.total()} of them of an edit: {misnamed}")
    print(f"{len(missed)} copies missed: {missed}")
    if target is not None:
        values = {"recall": recall, "means": means, "means_found": means_found, "edited": edited, "pictures": pictures}
        lists = {"accused": false_positives, "misnamed": misnamed, "missed": missed}
        target.write_text(json.dumps(values | lists, indent=2) + "\n")


if __name__ == "__main__":
    main()

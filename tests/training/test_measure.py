"""Data, split, clusters, radius and leaderboard, on numbers small enough to check by hand."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from twinwatch.calibration import ALL_EDITS
from twinwatch.errors import ConfigError
from twinwatch_training.baselines import baselines
from twinwatch_training.calibrate import Distances, calibrate, load_distances, measure, pairwise, save_distances
from twinwatch_training.cluster import cluster
from twinwatch_training.data import edited_copies, load_pictures, split
from twinwatch_training.evaluate import evaluate, halve, mean_recall
from twinwatch_training.leaderboard import best_split
from twinwatch_training.presets import preset

Texture = Callable[..., NDArray[np.uint8]]


def silent(task: str, done: int, total: int, /) -> None:
    pass


def first_values(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An encoder that can be followed by eye: the first pixel's red and green."""
    return pixels[:, 0, 0, :2].astype(np.float32)


def points(*pairs: tuple[int, int]) -> NDArray[np.uint8]:
    pixels = np.zeros((len(pairs), 2, 2, 3), dtype=np.uint8)
    pixels[:, 0, 0, :2] = pairs
    return pixels


def test_pictures_are_found_in_order_and_the_unusable_are_named(
    tmp_path: Path, fill: Callable[[Path, int], Path]
) -> None:
    folder = fill(tmp_path / "data", 50)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (folder / "same.jpg").write_bytes((folder / "001.jpg").read_bytes())
    (folder / "notes.txt").write_text("no picture")
    (folder / ".twinwatch").mkdir()
    (folder / ".twinwatch" / "hidden.jpg").write_bytes((folder / "002.jpg").read_bytes())
    pictures = load_pictures(folder, 32, silent)
    assert pictures.pixels.shape == (50, 32, 32, 3) and pictures.pixels.dtype == np.uint8
    assert list(pictures.paths) == sorted(pictures.paths)
    assert [each.path.name for each in pictures.skipped] == ["broken.png", "same.jpg"]
    assert "001.jpg" in pictures.skipped[1].reason
    assert load_pictures(folder, 32, silent).fingerprint == pictures.fingerprint
    (folder / "003.jpg").unlink()
    with pytest.raises(ConfigError, match="49 usable pictures; at least 50"):
        load_pictures(folder, 32, silent)


def test_the_split_is_seeded_disjoint_and_whole() -> None:
    for count, held_out in ((50, 10), (1000, 50)):
        parts = split(count, 3)
        assert len(parts.held_out) == held_out
        assert sorted([*parts.train, *parts.held_out]) == list(range(count))
        assert np.array_equal(parts.train, split(count, 3).train)
        assert not np.array_equal(parts.held_out, split(count, 4).held_out)


def test_clusters_are_seeded_and_never_more_than_the_pictures() -> None:
    embeddings = np.random.default_rng(0).normal(size=(200, 256)).astype(np.float32)
    found = cluster(embeddings, 20, seed=1)
    assert found.centroids.shape == (20, 256) and found.centroids.dtype == np.float32
    assert found.sizes.sum() == 200
    nearest = pairwise(embeddings, found.centroids).argmin(axis=1)
    assert np.array_equal(nearest, found.labels)
    assert np.array_equal(cluster(embeddings, 20, seed=1).centroids, found.centroids)
    assert len(cluster(embeddings[:7], 20, seed=1).centroids) == 7


def test_pairwise_is_the_l2_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 256)).astype(np.float32), rng.normal(size=(4, 256)).astype(np.float32)
    assert np.allclose(pairwise(a, b), np.linalg.norm(a[:, None] - b[None], axis=2), atol=1e-5)
    assert np.all(np.diagonal(pairwise(a, a)) < 1e-6)


def test_distances_and_radius() -> None:
    originals = points((0, 0), (10, 0), (100, 0))
    edited = {"near": points((0, 1), (10, 2), (100, 3)), "far": points((0, 4), (9, 0), (30, 0))}
    found = measure(first_values, originals, edited, first_values(originals))
    assert found.copies["near"].tolist() == [1, 2, 3]
    assert found.copies["far"].tolist() == [4, 1, 70]
    assert found.nearer["far"].tolist() == [0, 0, 2]
    assert found.non_copies.tolist() == [10, 10, 90]
    assert found.nearest.tolist() == [1, 0, 1]

    everything = calibrate(found, 1.0, 1.0)
    assert everything.radius == 70
    assert everything.error_rate.edit_recall == {"near": 1.0, "far": 1.0}
    assert everything.error_rate.false_alarm_rate == pytest.approx(2 / 3)
    most = calibrate(found, 0.8, 1.0)
    assert most.radius == 4
    assert most.error_rate.edit_recall == {"near": 1.0, "far": pytest.approx(2 / 3)}
    assert most.error_rate.false_alarm_rate == 0
    assert calibrate(found, 1.0, 0.5).radius == 10


def test_a_copy_that_twenty_strangers_are_nearer_to_is_not_nominated() -> None:
    far = {"edit": np.array([5.0, 1.0], np.float32)}
    nearer = {"edit": np.array([20, 19])}
    found = calibrate(Distances(far, nearer, np.array([9.0, 9.0], np.float32), np.array([1, 0]), 1.0), 1.0, 1.0)
    assert found.error_rate.edit_recall == {"edit": 0.5}


def test_distances_are_kept(tmp_path: Path) -> None:
    originals = points((0, 0), (9, 0))
    found = measure(first_values, originals, {"blur_2.5": points((1, 0), (9, 0))}, first_values(originals))
    save_distances(found, tmp_path)
    read = load_distances(tmp_path)
    assert read.copies.keys() == {"blur_2.5"}
    assert np.array_equal(read.copies["blur_2.5"], found.copies["blur_2.5"])
    assert np.array_equal(read.non_copies, found.non_copies)
    assert read.to_centroid == found.to_centroid


def test_what_lies_far_from_every_centroid_is_given_more_room() -> None:
    originals = points((0, 10), (50, 10), (100, 10))
    edited = {"edit": points((0, 11), (50, 2), (100, 200))}
    found = measure(first_values, originals, edited, np.array([[0, 0], [50, 0], [100, 0]], np.float32))
    assert found.to_centroid == 10
    # As far as it was moved, less three quarters of what it lies beyond 10 from its centroid, but at most 0.15 of that.
    assert found.copies["edit"].tolist() == [1 - 0.75, 8 + 6, 190 - 1.5]
    assert found.non_copies.tolist() == [50, 50, 50]


def test_recall_at_a_false_alarm_rate() -> None:
    library = first_values(points((0, 0), (100, 0)))
    # The nearest stranger of each lies past 50.
    new = first_values(points(*((50, far) for far in range(10, 110, 10))))
    edited = {"slight": first_values(points((0, 1), (100, 1))), "strong": first_values(points((0, 1), (100, 200)))}
    none = evaluate(library, new, edited, 0.0)
    assert none.false_alarm_rate == 0
    assert none.threshold == pytest.approx(np.hypot(50, 10), abs=1e-3)
    assert none.recall == {"slight": 1.0, "strong": 0.5}
    assert mean_recall(none.recall, edited) == 0.75
    fifth = evaluate(library, new, edited, 0.2)
    assert fifth.false_alarm_rate == pytest.approx(0.2)
    assert fifth.threshold > none.threshold


def test_halves_are_disjoint_and_seeded() -> None:
    halves = halve(21, 0)
    assert sorted([*halves.library, *halves.new]) == list(range(21))
    assert np.array_equal(halves.library, halve(21, 0).library)


def test_an_unknown_preset_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="seed, default"):
        preset("best")


def test_edited_copies_are_decoded_to_the_side_asked_for(tmp_path: Path, fill: Callable[[Path, int], Path]) -> None:
    paths = sorted(fill(tmp_path / "data", 3).rglob("*.*g"))
    copies = edited_copies(paths, 32, lambda *_: None)
    assert list(copies) == list(ALL_EDITS)
    assert all(pixels.shape == (3, 32, 32, 3) for pixels in copies.values())
    mirrored = np.asarray(Image.open(paths[0]).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))[:, ::-1]
    assert np.abs(copies["mirror"][0].astype(int) - mirrored).mean() < 4


def test_the_best_split_of_pairs() -> None:
    copies, strangers = np.array([1, 2, 3, 9], np.float32), np.array([4, 5, 6, 2], np.float32)
    assert best_split(copies, strangers) == (0.75, 3.0, 0.75, 0.25)


def test_a_hash_is_compared_by_the_bits_that_differ(texture: Texture) -> None:
    stored = [io.BytesIO(), io.BytesIO()]
    Image.fromarray(texture(1)).save(stored[0], "PNG")
    Image.fromarray(texture(2)).save(stored[1], "PNG")
    (method,) = baselines(["phash"])
    one, other = method.embed(np.stack([method.take(each.getvalue()) for each in stored]))
    hashes = [imagehash.phash(Image.open(each)) for each in stored]
    assert round(float(((one - other) ** 2).sum())) == hashes[0] - hashes[1] > 0

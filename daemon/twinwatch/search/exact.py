"""Exact L2 search over embeddings, each of which has a cluster.

A query returns what brute force would; what is skipped is skipped by a proof. Splitting an embedding y into its first
principal axes p(y) and what they leave, q(y), its *shadow* is s(y) = (p(y), |q(y)|), and |s(x)-s(y)| <= |x-y|: p and q
are orthogonal, and ||q(x)|-|q(y)|| <= |q(x)-q(y)|. Nor does it bring two shadows farther apart to move each to the
nearest point of one box. A shadow in the box is kept as a code of one byte an axis; with e the rounding errors, no y is
within r of x unless the codes are within r + e(x) + e(y). All codes are compared with the query's in products of
small whole numbers, and the embeddings themselves are read for the few that are left.

Members lie in blocks. One that is full is sealed: its codes, which no longer change, are laid out as the product reads
them fastest. Who leaves it leaves a hole, until the library is clustered anew.

Clusters say what a picture is like. They skip nothing: within the radius that finds edited copies, a query of a library
of a million reaches 98% of a thousand clusters by the border rule, and all of them by the triangle inequality.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from twinwatch.search.clusters import Centroids

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]

MAX_CANDIDATES = 20
"""How many of the nearest members evidence is sought for."""
AXES = 63
"""Principal axes in a shadow. Fewer are compared sooner, but let more members through; and with one byte for what they
leave, codes fill the 64 that the widest of processors takes at a time."""
_LARGEST = 126
"""Of a member's codes. A query's are half as large, as its steps are twice as wide: shifted to 1..127, two products of
codes fit the 16 bits that processors with AVX2 but without VNNI add them up in."""
_SHIFT = 64
_NEVER = -(1 << 30)
"""The offset of a place without a member; no sum of products comes near it."""
_NOBODY = -1
"""The key there."""
_MOST_SCORE = 1 << 30
"""No score comes near it."""
_ROUNDING = 1e-4
"""Added to the radius, times the norms involved where they exceed one: float32 rounding."""
_SMALLEST_BLOCK, _LARGEST_BLOCK = 1 << 12, 1 << 17  # members
_GUESSED_FROM = 4  # times as many members as are asked for; of fewer, all within the radius are measured at once
_SAMPLED = 1 << 14  # scores that the first guess of the nearest is made from
_GROWTH = 4  # re-cluster when the library is this many times as large as at the last clustering
_MOST_PLACES = 2  # to a member, holes included; else likewise
_MIN_CLUSTERS = 20
_AT_ONCE = 1 << 14  # embeddings to describe at a time
_MEASURED_AT_ONCE = 1 << 9  # few enough for the cache

_NODE = bytes.fromhex("0a180a01610a0162120173220d4d61744d756c496e7465676572120167")  # s = MatMulInteger(a, b)
_A = bytes.fromhex("5a090a016112040a020802")  # an input of uint8
_B = bytes.fromhex("5a090a016212040a020803")  # an input of int8
_S = bytes.fromhex("62090a017312040a020806")  # the output, of int32
_GIVEN = bytes.fromhex("10034201626a0d0a086c6f636174696f6e1201627001")  # int8, named b, external: location b
_OPSET = bytes.fromhex("42040a00100a")  # 10


@dataclass(frozen=True, slots=True)
class Match:
    """One neighbour: the key it was added under, its L2 distance and the cluster it lives in."""

    key: int
    distance: float
    cluster: int


@dataclass(frozen=True, slots=True)
class _Shadows:
    """How embeddings are made into shadows and codes: float32 [dim, a], [a + 1] and the width of a member's step."""

    axes: Vectors
    centre: Vectors
    step: float

    @classmethod
    def fitted(cls, embeddings: Vectors) -> _Shadows:
        """Take the principal axes of float32 [n, dim], and steps that reach as far as these."""
        centred = (embeddings - embeddings.mean(axis=0)).astype(np.float64)
        _, axes = np.linalg.eigh(centred.T @ centred)  # columns by growing variance
        first = axes[:, ::-1][:, :AXES]  # [dim, a]
        # Turned among themselves, so that all are about as wide and the widest one does not make the steps wide.
        turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(first.shape[1], first.shape[1])))
        turned = np.ascontiguousarray(first @ turn, np.float32)
        shadows = _split(embeddings, turned)  # [n, a + 1]
        centre = shadows.mean(axis=0)
        reach = float(np.abs(shadows - centre).max())
        return cls(turned, centre, max(reach, 1e-6 * (1 + float(np.abs(centre).max()))) / _LARGEST)

    def codes(self, embeddings: Vectors, width: int) -> tuple[Vectors, Vectors]:
        """Return codes [n, a + 1] of float32 [n, dim], in steps `width` times as wide, and their errors [n]."""
        shadows = _split(embeddings, self.axes) - self.centre  # [n, a + 1]
        wide = self.step * width
        shadows = shadows.clip(-_LARGEST * self.step, _LARGEST * self.step)
        codes = np.rint(shadows / wide)
        return codes, np.linalg.norm(shadows - wide * codes, axis=1)


class _Block:
    """Places for members, side by side, taken one after the other; the first `used` have been."""

    def __init__(self, vectors: Vectors, axes: int) -> None:
        """`vectors` is float32 [places, dim], and is written to as members come."""
        self.vectors = vectors
        self.used = 0
        self.offsets = np.full(len(vectors), _NEVER, np.int32)
        self.keys = np.full(len(vectors), _NOBODY, np.int32)
        self.clusters = np.zeros(len(vectors), np.int32)
        # An odd number of cache lines: rows a power of two apart would push each other out of the cache.
        padded = (-(-len(vectors) // 64) | 1) * 64
        self._codes: NDArray[np.int8] | None = np.zeros((axes, padded), np.int8)
        self._sealed: onnxruntime.InferenceSession | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, keys: Numbers, codes: Vectors, offsets: Vectors, clusters: Numbers) -> None:
        """Give the next places to members, of which the codes are [n, axes]; seal the block if it is full then."""
        assert self._codes is not None
        places = slice(self.used, self.used + len(keys))
        self.keys[places] = keys
        self._codes[:, places] = codes.T
        self.offsets[places] = np.rint(offsets)
        self.clusters[places] = clusters
        self.used += len(keys)
        if self.used == len(self):
            self._sealed, self._codes = _product(np.ascontiguousarray(self._codes[:, : self.used])), None

    def leave(self, place: int) -> None:
        self.keys[place] = _NOBODY
        self.offsets[place] = _NEVER

    def scores(self, asked: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return int32 [used]: the larger, the nearer is the code."""
        if self._sealed is None:
            (products,) = _any_product().run(None, {"a": asked, "b": self._codes})  # [1, padded]
        else:
            (products,) = self._sealed.run(None, {"a": asked})
        scores: NDArray[np.int32] = products[0, : self.used]
        scores += self.offsets[: self.used]
        return scores


_Measured = tuple[_Block, NDArray[np.intp], Vectors]
"""Places in a block, and the distances of the members there, float32."""


class ExactIndex:
    """Embeddings by key. Not for several threads at once: the committing thread owns it.

    Keys are whole numbers from 0, such as the ids of rows: four bytes are kept for each up to the greatest.
    """

    def __init__(self, centroids: Vectors) -> None:
        """An empty one; `centroids` is float32 [k, dim]."""
        self._dim = centroids.shape[1]
        self._clusters = Centroids(centroids)
        self._shadows = _Shadows.fitted(centroids)
        self._blocks: list[_Block] = []
        self._starts: list[int] = []  # the number of each block's first place
        self._size = 0
        self._places = np.full(_SMALLEST_BLOCK, -1, np.int32)  # by key; -1 where it is no member
        self._error = 0.0  # the largest of all codes
        self._clustered_size = 0

    @classmethod
    def of(cls, centroids: Vectors, keys: Numbers, embeddings: Vectors, seed: int = 0) -> ExactIndex:
        """Build one of int64 [N], all different, and float32 [N, dim], which it takes over: leave them alone after."""
        index = cls(centroids)
        if not len(keys):
            return index
        sample = np.random.default_rng(seed).choice(len(keys), min(len(keys), _AT_ONCE), replace=False)
        index._shadows = _Shadows.fitted(embeddings[np.sort(sample)])
        index._make_room_for(int(keys.max()))
        for first in range(0, len(keys), _LARGEST_BLOCK):
            index._append_block(embeddings[first : first + _LARGEST_BLOCK])
            for start in range(first, min(first + _LARGEST_BLOCK, len(keys)), _AT_ONCE):
                part = slice(start, min(start + _AT_ONCE, first + _LARGEST_BLOCK))
                index._write(keys[part], embeddings[part])
        return index

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: int) -> bool:
        return self._place(key) >= 0

    def cluster_of(self, key: int) -> int | None:
        """Return the cluster that `key` is in, or None where it is not a member."""
        if key not in self:
            return None
        block, place = self._find(self._place(key))
        return int(block.clusters[place])

    def add(self, key: int, embedding: Vectors) -> int:
        """Add float32 [dim] under `key`, replacing what was there; return its cluster."""
        self.remove(key)
        self._make_room_for(key)
        if not self._blocks or self._blocks[-1].used == len(self._blocks[-1]):
            places = min(max(self._size, _SMALLEST_BLOCK), _LARGEST_BLOCK)
            self._append_block(np.empty((places, self._dim), np.float32))
        block = self._blocks[-1]
        place = block.used
        block.vectors[place] = embedding
        self._write(np.array([key]), block.vectors[place : place + 1])
        return int(block.clusters[place])

    def remove(self, key: int) -> None:
        """Forget `key`; nothing happens if it is not there."""
        number = self._place(key)
        if number < 0:
            return
        block, place = self._find(number)
        block.leave(place)
        self._places[key] = -1
        self._size -= 1
        if not self._size:
            self._blocks, self._starts = [], []

    def query(self, embedding: Vectors, radius: float, most: int | None = None) -> list[Match]:
        """Return every member within L2 `radius` of float32 [dim], nearest first; only the first `most` if given."""
        codes, errors = self._shadows.codes(embedding[None], 2)  # [1, a + 1], [1]
        asked = (codes + _SHIFT).astype(np.uint8)  # [1, a + 1]
        rounding = _ROUNDING * (1 + radius + float(np.linalg.norm(embedding)))

        def threshold(reach: float) -> int:
            """What the scores of all within `reach` are at least; see _write."""
            steps = (reach + float(errors[0]) + self._error + rounding) / (2 * self._shadows.step)
            return int(max(float((codes**2).sum()) - steps**2 - 1, _NEVER / 2))

        scores = [block.scores(asked) for block in self._blocks]
        measured: list[_Measured] = []
        reach, guess = radius, _MOST_SCORE
        if most is not None and 0 < _GUESSED_FROM * most < self._size:
            # The distance of the `most`th of any members bounds that of the `most`th nearest.
            guess = max(self._guess(scores, most), threshold(radius))
            measured = self._measured(embedding, scores, guess, _MOST_SCORE)
            near = np.sort(np.concatenate([distances for _, _, distances in measured]))
            if len(near) >= most:
                reach = min(radius, float(near[most - 1]))
        measured += self._measured(embedding, scores, threshold(reach), guess)
        matches: list[Match] = []
        for block, places, distances in measured:
            within = distances <= reach
            found = places[within]
            matches += map(
                Match, block.keys[found].tolist(), distances[within].tolist(), block.clusters[found].tolist()
            )
        matches.sort(key=lambda match: (match.distance, match.key))
        return matches if most is None else matches[:most]

    def outgrown(self) -> bool:
        """True when the library has grown, or left holes, so much that clusters and axes made anew would pay."""
        grown = len(self) >= max(1000, _GROWTH * self._clustered_size)
        return grown or self._used() > _MOST_PLACES * (len(self) + _SMALLEST_BLOCK)

    def keys(self) -> Numbers:
        """Return all keys, int64 [N], in no order."""
        keys: Numbers = np.concatenate([np.empty(0, np.int64), *(block.keys for block in self._blocks)])
        return np.asarray(keys[keys != _NOBODY])

    def vector(self, key: int) -> Vectors:
        """Return the embedding of a member, float32 [dim]."""
        block, place = self._find(self._place(key))
        return np.array(block.vectors[place])

    def vectors(self) -> tuple[Numbers, Vectors]:
        """Return all keys [N] and a copy of their embeddings [N, dim], as they were added."""
        embeddings = np.empty((self._size, self._dim), np.float32)
        start = 0
        for block in self._blocks:
            places = np.flatnonzero(block.keys != _NOBODY)
            embeddings[start : start + len(places)] = block.vectors[places]
            start += len(places)
        return self.keys(), embeddings

    def _place(self, key: int) -> int:
        return int(self._places[key]) if 0 <= key < len(self._places) else -1

    def _find(self, number: int) -> tuple[_Block, int]:
        at = bisect_right(self._starts, number) - 1
        return self._blocks[at], number - self._starts[at]

    def _used(self) -> int:
        """Return how many places were given to members, holes included."""
        return self._starts[-1] + self._blocks[-1].used if self._blocks else 0

    def _make_room_for(self, key: int) -> None:
        if key >= len(self._places):
            grown = np.full(max(key + 1, len(self._places) * 3 // 2), -1, np.int32)
            grown[: len(self._places)] = self._places
            self._places = grown

    def _append_block(self, vectors: Vectors) -> None:
        self._starts.append(self._starts[-1] + len(self._blocks[-1]) if self._blocks else 0)
        self._blocks.append(_Block(vectors, len(self._shadows.centre)))

    def _write(self, keys: Numbers, embeddings: Vectors) -> None:
        """Describe new members [n], whose embeddings are in the next places of the last block.

        With a the code of the query, b that of a member and d the width of a member's step, the two are
        |2da - db| apart, which is within r if and only if a·b - |b|^2 / 4 >= |a|^2 - r^2 / 4d^2. What depends on the
        member alone is its offset; to a _SHIFT is added, so that many times the sum of b is taken off.
        """
        codes, errors = self._shadows.codes(embeddings, 1)  # [n, a + 1], [n]
        self._error = max(self._error, float(errors.max()))
        offsets = -(codes**2).sum(axis=1) / 4 - _SHIFT * codes.sum(axis=1)  # [n]
        self._places[keys] = np.arange(self._used(), self._used() + len(keys))
        self._blocks[-1].take(keys, codes, offsets, self._clusters.nearest(embeddings))
        self._size += len(keys)

    def _guess(self, scores: list[NDArray[np.int32]], most: int) -> int:
        """Return a threshold that a few times `most` members pass, judging by a sample of the scores."""
        stride = max(1, self._used() // _SAMPLED)
        sample = np.concatenate([each[::stride] for each in scores])
        rank = min(len(sample), 4 + 2 * most // stride)
        return int(np.partition(sample, -rank)[-rank])

    def _measured(self, embedding: Vectors, scores: list[NDArray[np.int32]], least: int, below: int) -> list[_Measured]:
        """Measure the members whose scores are at least `least` and below `below`."""
        found: list[_Measured] = []
        for block, each in zip(self._blocks, scores, strict=True):
            places = np.flatnonzero(each >= least)
            places = places[each[places] < below]
            distances = np.empty(len(places), np.float32)
            for start in range(0, len(places), _MEASURED_AT_ONCE):
                part = slice(start, start + _MEASURED_AT_ONCE)
                apart = block.vectors.take(places[part], axis=0)
                apart -= embedding
                # numpy's own norm takes four times as long.
                distances[part] = np.sqrt(np.einsum("ij,ij->i", apart, apart))
            found.append((block, places, distances))
        return found


def recluster(keys: Numbers, embeddings: Vectors, sample: int = 20_000, seed: int = 0) -> ExactIndex:
    """Build a new Index of int64 [N] and float32 [N, dim], which it takes over, with about sqrt(N) clusters.

    They are fitted on at most `sample` members. It may run beside the thread that owns the old one.
    """
    picked = np.random.default_rng(seed).permutation(len(keys))[:sample]
    fitted = embeddings[picked]  # [n, dim]
    k = max(_MIN_CLUSTERS, round(len(keys) ** 0.5))
    index = ExactIndex.of(fitted if len(fitted) <= k else _centroids(fitted, k, seed), keys, embeddings, seed)
    index._clustered_size = len(keys)
    return index


def _centroids(embeddings: Vectors, k: int, seed: int) -> Vectors:
    """Return the centroids, float32 [k, dim], of more than k embeddings."""
    cv2.setRNGSeed(seed)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    _, _, centroids = cv2.kmeans(embeddings, k, np.empty((0, 0), np.int32), stop, 1, cv2.KMEANS_PP_CENTERS)
    return np.asarray(centroids, np.float32)


def _split(embeddings: Vectors, axes: Vectors) -> Vectors:
    """Return float32 [n, a + 1] of [n, dim]: along the axes, and the length of what is left."""
    along = embeddings @ axes  # [n, a]
    left = np.linalg.norm(embeddings - along @ axes.T, axis=1)  # [n]
    return np.column_stack((along, left))


@cache
def _any_product() -> onnxruntime.InferenceSession:
    """Computes the product of a and b."""
    return _session(_B)


def _product(codes: NDArray[np.int8]) -> onnxruntime.InferenceSession:
    """Return what computes the product of a and these codes [axes, places], which it keeps as it reads them fastest."""
    dims = b"".join(b"\x08" + _varint(size) for size in codes.shape)
    # Said to lie outside the model, as ONNX Runtime would keep the model's bytes too.
    return _session(_part(0x2A, dims + _GIVEN), b=onnxruntime.OrtValue.ortvalue_from_numpy(codes))


def _session(b_described: bytes, **given: onnxruntime.OrtValue) -> onnxruntime.InferenceSession:
    """Make the ONNX model of one product, where b is an input or given; see onnx.proto for what the numbers stand for.

    ONNX Runtime's is the one product of whole numbers here that is as fast as memory.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.add_external_initializers(list(given), list(given.values()))
    model = b"\x08\x05" + _part(0x3A, _NODE + b_described + _A + _S) + _OPSET
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _part(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])

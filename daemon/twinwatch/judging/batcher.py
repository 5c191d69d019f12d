"""Embeds pictures in batches: a batch goes when it is full, nothing else is under way, or its oldest has waited."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import structlog

from twinwatch.judging.feeder import Numbered
from twinwatch.judging.in_flight import InFlight
from twinwatch.search import Encoder

MAX_BATCH = 64
MAX_WAIT_S = 0.02

_log = structlog.get_logger("twinwatch")


class Batcher:
    """Runs in one thread until it is given None. `deliver` gets every file, with its embedding if it has a picture."""

    def __init__(self, encoder: Encoder, in_flight: InFlight, deliver: Callable[[Numbered], None]) -> None:
        self._encoder = encoder
        self._in_flight = in_flight
        self._deliver = deliver
        self.decoded: queue.SimpleQueue[Numbered | None] = queue.SimpleQueue()

    def run(self) -> None:
        batch: list[Numbered] = []
        oldest_s = 0.0
        is_open = True
        while is_open or batch:
            timeout_s = max(0.0, oldest_s + MAX_WAIT_S - time.monotonic()) if batch else None
            try:
                item = self.decoded.get(timeout=timeout_s)
            except queue.Empty:
                self._embed(batch)
                batch = []
                continue
            if item is None:
                is_open = False
            elif item.arrival.inspection is None or item.arrival.inspection.picture is None:
                self._deliver(item)
                continue
            else:
                oldest_s = oldest_s if batch else time.monotonic()
                batch.append(item)
            if batch and (len(batch) in (MAX_BATCH, len(self._in_flight)) or not is_open):
                self._embed(batch)
                batch = []

    def _embed(self, batch: list[Numbered]) -> None:
        pictures = [item.arrival.inspection.picture for item in batch if item.arrival.inspection]
        pixels = np.stack([picture.pixels for picture in pictures if picture])  # [N, H, W, 3]
        try:
            embeddings = self._encoder.embed(pixels)  # [N, 256]
        except Exception as error:  # noqa: BLE001  ONNX Runtime has no common error; the batch is tried again
            _log.exception("encoding failed, trying again later")
            for item in batch:
                failed = replace(item.arrival, inspection=None, failure=OSError(str(error)))
                self._deliver(replace(item, arrival=failed))
            return
        for item, embedding in zip(batch, embeddings, strict=True):
            self._deliver(replace(item, arrival=replace(item.arrival, embedding=embedding)))

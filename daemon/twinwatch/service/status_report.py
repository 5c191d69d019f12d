"""The daemon's status: what goes into status.json, metrics.prom and systemd's STATUS line."""

from __future__ import annotations

import time
from typing import Any

from twinwatch.clock import utc_now
from twinwatch.judging import Pipeline
from twinwatch.service.resources import Resources
from twinwatch.service.state import StateFolder
from twinwatch.service.status import write_status
from twinwatch.watching import RootMonitor, RootStatus
from twinwatch.workers import WorkerPool


class Pace:
    """How many files a second were judged since the queue was last empty."""

    def __init__(self) -> None:
        self.files_per_s = 0.0
        self._busy_since_s = time.monotonic()
        self._judged_before = 0

    def update(self, judged: int, waiting: int) -> None:
        """Take in how many files were judged since the start, and how many wait."""
        now_s = time.monotonic()
        if not waiting:
            self._busy_since_s, self._judged_before = now_s, judged
        self.files_per_s = (judged - self._judged_before) / max(1.0, now_s - self._busy_since_s)


class StatusReport:
    """Collects the status of a running daemon and writes it to the state folder. For one thread."""

    def __init__(
        self, state: StateFolder, resources: Resources, workers: WorkerPool, pipeline: Pipeline, monitor: RootMonitor
    ) -> None:
        self._state = state
        self._resources = resources
        self._workers = workers
        self._pipeline = pipeline
        self._monitor = monitor
        self._started = utc_now()
        self._counts: dict[str, int] = {}
        self._counts_version: object = None
        self.pace = Pace()

    def write(self) -> dict[str, int]:
        """Write status.json and metrics.prom. Returns the number of files by state. Raises OSError, StorageError."""
        version = self._resources.store.version()
        if version != self._counts_version:  # counting looks at every file
            self._counts, self._counts_version = self._resources.store.counts(), version
        self.pace.update(self._pipeline.judged, self._counts["waiting"])
        write_status(self._state.path, self._status(), self._metrics())
        return self._counts

    def _status(self) -> dict[str, Any]:
        bundle, encoder = self._resources.bundle, self._resources.encoder
        return {
            "time": utc_now(),
            "started": self._started,
            "device": encoder.device,
            "device_note": encoder.fallback,
            "bundle": bundle.id,
            "preset": bundle.manifest.preset,
            "in_flight": self._pipeline.in_flight(),
            "files_per_s": self.pace.files_per_s,
            "roots": [_root(status) for status in self._monitor.statuses.values()],
        }

    def _metrics(self) -> dict[str, float]:
        files = {f"files_{state}": float(count) for state, count in self._counts.items()}
        switched_off = sum(root.tripped is not None for root in self._resources.store.roots.all())
        return files | {
            "folders_switched_off": float(switched_off),
            "judged_total": float(self._pipeline.judged),
            "workers_lost_total": float(self._workers.lost),
        }


def _root(status: RootStatus) -> dict[str, Any]:
    watch = status.watch
    return {
        "path": str(watch.path),
        "action": watch.action,
        "protect": watch.protect,
        "mode": "events" if status.uses_events and not status.offline_reason else "scan",
        "away": status.offline_reason,
        "files": status.files,
        "notes": status.problems.texts(),
    }

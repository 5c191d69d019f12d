"""A training step as a CUDA graph: recorded once, then replayed.

On a GPU the hundreds of small kernels of a step take longer to launch than to run; a graph launches them together. See
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs for what a step must observe to be recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP_STEPS = 3  # steps before the recording, in which libraries choose kernels and allocate memory


class GraphedStep:
    """Calls a step of training. On a GPU, after a few calls, it records the step and replays it from then on.

    `step` reads its input from tensors that stay in place and are filled before each call, and copies nothing between
    host and device. `generator` is the source of all its random numbers. `before_recording` frees what the graph has to
    allocate for itself, such as gradients.
    """

    def __init__(
        self, step: Callable[[], None], generator: torch.Generator, before_recording: Callable[[], None]
    ) -> None:
        self._step = step
        self._generator = generator
        self._before_recording = before_recording
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0

    def __call__(self) -> None:
        """Run the step once."""
        if self._graph is None and self._generator.device.type == "cuda" and self._calls >= WARM_UP_STEPS:
            self._graph = self._record()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._step()
        self._calls += 1

    def _record(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        self._before_recording()
        with torch.cuda.graph(graph):  # runs no kernel
            self._step()
        return graph

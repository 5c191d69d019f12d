"""What is trained and how: `seed`, the encoder of the article the project grew from, and `default`, the one that ships.

A preset is values only. Nothing here computes, and nothing outside it hides a number that changes the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twinwatch.errors import ConfigError

EMBEDDING_DIM = 256


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution of the encoder, padded so that only `stride` and `pool` make the picture smaller."""

    filters: int
    kernel: int
    stride: int = 1
    pool: Literal["none", "max", "average"] = "none"  # by 2, after the activation


@dataclass(frozen=True, slots=True)
class Views:
    """How far a training view may stray from its picture. Shares are of the picture's side, levels of 0..1.

    Every view is also turned to any of the eight orientations.
    """

    scale: tuple[float, float]  # below 1 shows a border, above 1 is a crop
    stretch: float  # log of one side against the other, as a crop or a border to another aspect does
    shift: float  # of the side, each way
    turn_degrees: float  # on top of the eight orientations
    plain_share: float  # of views that keep their frame, so that exact copies stay exact
    blur_sigma: float  # of the side
    blur_share: float
    brightness: tuple[float, float]
    contrast: tuple[float, float]
    gamma: tuple[float, float]
    tint: float  # each colour against the others
    grey_share: float
    bar_share: float  # a caption bar along one of the four sides
    bar: tuple[float, float]
    sticker_share: float  # something laid over the picture, plain or a piece of another one
    sticker: tuple[float, float]  # its radius
    noise_share: float
    noise: float


STANDS = Views(
    scale=(0.9, 1.15), stretch=0.04, shift=0.06, turn_degrees=2, plain_share=0.6, blur_sigma=0.01, blur_share=0.3,
    brightness=(0.9, 1.12), contrast=(0.9, 1.15), gamma=(0.9, 1.1), tint=0.03, grey_share=0.05,
    bar_share=0.1, bar=(0.05, 0.12), sticker_share=0.0, sticker=(0.05, 0.1), noise_share=0.3, noise=0.02,
)  # fmt: skip
"""The picture as it may stand in a library: hardly changed."""

COPY = Views(
    scale=(0.6, 2.4), stretch=0.2, shift=0.25, turn_degrees=18, plain_share=0.2, blur_sigma=0.055, blur_share=0.4,
    brightness=(0.45, 1.7), contrast=(0.55, 1.6), gamma=(0.5, 2.0), tint=0.25, grey_share=0.3,
    bar_share=0.3, bar=(0.05, 0.2), sticker_share=0.35, sticker=(0.08, 0.32), noise_share=0.3, noise=0.06,
)  # fmt: skip
"""What people make of it: somewhat beyond the hardest edit that is to be found."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Everything that decides which bundle comes out of a folder of pictures."""

    name: str
    side: int  # pixels; pictures are squeezed to side x side
    detail: int  # views are made of pictures so many times larger: a crop of a file shows more than one of a thumbnail
    convs: tuple[Conv, ...]
    head: Literal["flatten", "gem"]  # the last map as it is, or GeM-pooled, linear to 256 and unit norm
    leak: float  # slope of the leaky ReLU below zero; 0 is a plain ReLU
    views: tuple[Views, Views] | None  # of the standing picture and of its copy; None: reconstruction alone
    temperature: float  # of InfoNCE; 0.03 to 0.1 work, lower looks harder at near strangers
    reconstruction_weight: float  # next to InfoNCE
    spread_weight: float  # of pushing each view away from its nearest stranger, next to InfoNCE
    epochs: int
    batch: int  # with views, also the number of strangers each copy is told from
    learning_rate: float
    decay: Literal["exponential", "cosine"]
    decay_to: float  # share of the learning rate left at the end
    warmup_share: float  # of all steps
    weight_decay: float
    bfloat16: bool  # halves the time where the processor has it; it trains faster, no more
    int8: bool  # the bundle's convolutions in 8 bits, which takes less than half the time
    clusters: int
    copies_within: float  # share of edited copies that the nomination radius has to cover
    strangers_within: float  # share of new pictures that may have a stranger within it; each costs a look at the pixels
    evidence_level: float  # score from which pixels that line up count as evidence

    @property
    def source_side(self) -> int:
        """Pixels of a side of the pictures that training makes its views of."""
        return self.side * self.detail

    @property
    def unit_norm(self) -> bool:
        """Whether every embedding has length 1."""
        return self.head == "gem"


SEED = Preset(
    name="seed",
    side=32,
    detail=1,
    convs=(Conv(4, 3, pool="max"), Conv(8, 3, pool="max"), Conv(16, 3, pool="average")),  # 4 x 4 x 16 = 256 numbers
    head="flatten",
    leak=0.3,  # the article names none; this is Keras's, and 0.01, torch's, ends at a higher loss
    views=None,
    temperature=0.0,
    reconstruction_weight=1.0,
    spread_weight=0.0,
    epochs=20,
    batch=64,
    learning_rate=5e-3,  # the article names none; at 1e-3 twenty epochs end at a held-out loss of 0.557, here at 0.549
    decay="exponential",
    decay_to=0.1,
    warmup_share=0.0,
    weight_decay=0.0,
    bfloat16=False,
    int8=False,
    clusters=20,
    copies_within=0.99,
    strangers_within=0.5,
    evidence_level=0.6,
)

DEFAULT = Preset(
    name="default",
    side=96,
    detail=2,
    # Strides early: 58 million multiply-adds. The last, 1x1, gives the 256 numbers more than 256 maps to draw on.
    convs=(Conv(32, 5, 3), Conv(64, 3, 2), Conv(64, 3), Conv(128, 3, 2), Conv(128, 3), Conv(256, 3), Conv(512, 1)),
    head="gem",
    leak=0.0,
    views=(STANDS, COPY),
    temperature=0.05,
    reconstruction_weight=2.0,
    spread_weight=1.0,
    epochs=48,  # some hour and a half for 12,000 pictures on two cores; the bundle that ships had 600, minutes on a GPU
    batch=384,
    learning_rate=2e-3,
    decay="cosine",
    decay_to=0.0,
    warmup_share=0.05,
    weight_decay=1e-4,
    bfloat16=True,
    int8=True,
    clusters=1024,  # so many tell how close together pictures lie, and with it how far a copy may lie
    copies_within=0.99,
    strangers_within=0.15,
    evidence_level=0.6,
)


def preset(name: str) -> Preset:
    """Return the preset of that name. Raises ConfigError naming those that exist."""
    known = {each.name: each for each in (SEED, DEFAULT)}
    if name not in known:
        raise ConfigError(f"no preset {name!r}: choose one of {', '.join(known)}")
    return known[name]

"""Presets of what is trained and how: `seed`, the encoder of the article, and `default`, the one that ships.

A preset is values only. Every number that changes the trained encoder is here.
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
class Augmentation:
    """The ranges from which a training view is drawn. Lengths are shares of the picture's side, levels are 0 to 1.

    Fields that end in `_share` are the share of views with that change. Every view also gets one of the eight
    orientations.
    """

    scale: tuple[float, float]  # below 1 shows a border, above 1 is a crop
    stretch: float  # log of the change of width against height, as by a crop or border to another aspect ratio
    shift: float  # each way
    turn_degrees: float  # on top of the eight orientations
    plain_share: float  # views that are not moved at all, so that copies of the same frame get the same embedding
    blur_sigma: float
    blur_share: float
    brightness: tuple[float, float]
    contrast: tuple[float, float]
    gamma: tuple[float, float]
    tint: float  # change of one colour channel against the others
    grey_share: float
    bar_share: float  # a plain bar, like that of a caption, along one of the four sides
    bar: tuple[float, float]  # its height
    sticker_share: float  # an ellipse or box over the picture, plain or cut from another picture
    sticker: tuple[float, float]  # half its width and half its height
    noise_share: float
    noise: float  # the largest standard deviation


WEAK = Augmentation(
    scale=(0.9, 1.15), stretch=0.04, shift=0.06, turn_degrees=2, plain_share=0.6, blur_sigma=0.01, blur_share=0.3,
    brightness=(0.9, 1.12), contrast=(0.9, 1.15), gamma=(0.9, 1.1), tint=0.03, grey_share=0.05,
    bar_share=0.1, bar=(0.05, 0.12), sticker_share=0.0, sticker=(0.05, 0.1), noise_share=0.3, noise=0.02,
)  # fmt: skip
"""For the view of the original: hardly changed."""

STRONG = Augmentation(
    scale=(0.6, 2.4), stretch=0.2, shift=0.25, turn_degrees=18, plain_share=0.2, blur_sigma=0.055, blur_share=0.4,
    brightness=(0.45, 1.7), contrast=(0.55, 1.6), gamma=(0.5, 2.0), tint=0.25, grey_share=0.3,
    bar_share=0.3, bar=(0.05, 0.2), sticker_share=0.35, sticker=(0.08, 0.32), noise_share=0.3, noise=0.06,
)  # fmt: skip
"""For the view of the copy: somewhat beyond the hardest edit that should be found."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Everything that decides which bundle is trained on a folder of pictures."""

    name: str
    side: int  # pixels; the encoder takes side x side, whatever the aspect ratio of the picture
    detail: int  # pictures are so many times larger than views, as a crop shows more than a thumbnail does
    convs: tuple[Conv, ...]
    head: Literal["flatten", "gem"]  # the last feature map as it is, or GeM-pooled, linear to 256 and unit norm
    leak: float  # slope of the leaky ReLU below zero; 0 is a plain ReLU
    views: tuple[Augmentation, Augmentation] | None  # of original and copy; None: trained by reconstruction alone
    temperature: float  # of InfoNCE; 0.03 to 0.1 work, and lower gives near negatives more weight
    reconstruction_weight: float  # of its error in the loss, where InfoNCE has weight 1
    spread_weight: float  # of the KoLeo regulariser in the loss
    epochs: int
    batch: int  # with InfoNCE it also sets the number of negatives
    learning_rate: float
    decay: Literal["exponential", "cosine"]
    decay_to: float  # share of the learning rate left at the end
    warmup_share: float  # share of all steps in which the learning rate rises
    weight_decay: float
    bfloat16: bool  # for training only; halves its time where the processor supports it
    int8: bool  # quantise the convolutions of the bundle to 8 bits, which more than halves the time of the encoder
    clusters: int
    target_recall: float  # share of edited copies that the nomination radius has to reach
    max_false_nomination_rate: float  # share of new pictures that may have a non-copy within it; each costs decoding
    evidence_level: float  # score from which aligned pixels count as evidence, 0 to 1

    @property
    def source_side(self) -> int:
        """Pixels a side of the pictures that views are made of."""
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
    target_recall=0.99,
    max_false_nomination_rate=0.5,
    evidence_level=0.6,
)

DEFAULT = Preset(
    name="default",
    side=96,
    detail=2,
    # Strides come early: 58 million multiply-adds. The last, 1x1, pools 512 maps for the 256 numbers.
    convs=(Conv(32, 5, 3), Conv(64, 3, 2), Conv(64, 3), Conv(128, 3, 2), Conv(128, 3), Conv(256, 3), Conv(512, 1)),
    head="gem",
    leak=0.0,
    views=(WEAK, STRONG),
    temperature=0.05,
    reconstruction_weight=2.0,
    spread_weight=1.0,
    epochs=48,  # an hour and a half for 12,000 pictures on two cores; the bundle that ships had 600, minutes on a GPU
    batch=384,
    learning_rate=2e-3,
    decay="cosine",
    decay_to=0.0,
    warmup_share=0.05,
    weight_decay=1e-4,
    bfloat16=True,
    int8=True,
    clusters=1024,  # enough to tell dense regions from sparse ones, which corrects the radius
    target_recall=0.99,
    max_false_nomination_rate=0.15,
    evidence_level=0.6,
)


def preset(name: str) -> Preset:
    """Return the preset of that name. Raises ConfigError naming those that exist."""
    known = {each.name: each for each in (SEED, DEFAULT)}
    if name not in known:
        raise ConfigError(f"no preset {name!r}: choose one of {', '.join(known)}")
    return known[name]

"""The two networks, and the augmentations that the default one is trained with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from twinwatch_training.augment import augment, orientations
from twinwatch_training.losses import info_nce
from twinwatch_training.model import AutoEncoder, Exported, embedder
from twinwatch_training.presets import DEFAULT, SEED, STRONG


def test_the_seed_is_built_as_its_article_says() -> None:
    model = AutoEncoder(SEED)
    kinds = [type(layer) for layer in model.encoder]
    activation = nn.LeakyReLU
    assert kinds == [
        nn.Conv2d, activation, nn.MaxPool2d, nn.Conv2d, activation, nn.MaxPool2d, nn.Conv2d, activation, nn.AvgPool2d,
        nn.Flatten,
    ]  # fmt: skip
    convolutions = [layer for layer in model.encoder if isinstance(layer, nn.Conv2d)]
    assert [(layer.out_channels, layer.kernel_size) for layer in convolutions] == [
        (4, (3, 3)),
        (8, (3, 3)),
        (16, (3, 3)),
    ]
    pixels = torch.rand(2, 3, 32, 32)
    assert model.encoder[:-1](pixels).shape == (2, 16, 4, 4)
    assert model.encode(pixels).shape == (2, 256)

    sizes = []
    through = model.encode(pixels)
    for layer in model.decoder:
        through = layer(through)
        if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d):
            sizes.append(tuple(through.shape[1:]))
    assert [size[1:] for size in sizes] == [(8, 8), (16, 16), (32, 32), (32, 32), (32, 32)]
    last = [layer for layer in model.decoder if isinstance(layer, nn.Conv2d)]
    assert [(layer.out_channels, layer.kernel_size) for layer in last] == [(4, (5, 5)), (3, (3, 3))]
    assert isinstance(model.decoder[-1], nn.Sigmoid)
    assert (SEED.epochs, SEED.batch, SEED.clusters, SEED.unit_norm) == (20, 64, 20, False)


def test_the_default_gives_256_numbers_of_length_one_and_a_picture_back() -> None:
    model = AutoEncoder(DEFAULT).eval()
    embedding = model.encode(torch.rand(3, 3, 96, 96))
    assert embedding.shape == (3, 256)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-5)
    restored = model.decode(embedding)
    assert restored.shape == (3, 3, 96, 96)
    assert restored.min() >= 0 and restored.max() <= 1


def test_scaling_is_inside_what_is_exported() -> None:
    model = AutoEncoder(SEED).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    inside = Exported(model)(torch.from_numpy(pixels)).detach().numpy()
    outside = model.encode(torch.from_numpy(pixels.transpose(0, 3, 1, 2) / np.float32(255))).detach().numpy()
    assert np.allclose(inside, outside, atol=1e-6)
    assert np.allclose(embedder(model, torch.device("cpu"), batch=2)(pixels), inside, atol=1e-6)


def test_orientations_are_the_eight_of_the_square() -> None:
    picture = torch.rand(1, 3, 6, 6)
    eight = orientations(picture)
    assert eight.shape == (1, 8, 3, 6, 6)
    assert len({tuple(each.flatten().tolist()) for each in eight[0]}) == 8


def test_views_are_pictures_and_follow_their_generator() -> None:
    pictures = torch.rand(16, 3, 128, 128)
    views = augment(pictures, STRONG, 2, torch.Generator().manual_seed(1))
    assert views.shape == (16, 3, 64, 64)
    assert views.min() >= 0 and views.max() <= 1
    assert torch.equal(views, augment(pictures, STRONG, 2, torch.Generator().manual_seed(1)))
    assert not torch.equal(views, augment(pictures, STRONG, 2, torch.Generator().manual_seed(2)))


def test_views_without_any_change_are_one_of_the_eight_orientations() -> None:
    still = replace(
        STRONG, scale=(1, 1), stretch=0, shift=0, turn_degrees=0, plain_share=1, blur_share=0, brightness=(1, 1),
        contrast=(1, 1), gamma=(1, 1), tint=0, grey_share=0, bar_share=0, sticker_share=0, noise_share=0,
    )  # fmt: skip
    pictures = torch.rand(32, 3, 32, 32)
    views = augment(pictures, still, 2, torch.Generator().manual_seed(0))
    errors = (orientations(avg_pool2d(pictures, 2)) - views[:, None]).abs().amax(dim=(2, 3, 4))  # [32, 8]
    assert errors.min(dim=1).values.max() < 1e-4
    assert len(set(errors.argmin(dim=1).tolist())) == 8


def test_info_nce_is_small_for_twins_alone_and_log_of_the_others_for_equals() -> None:
    apart = torch.eye(8)
    assert info_nce(torch.cat([apart, apart]), 0.05).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(torch.ones(16, 4) / 2, 0.05).item() == pytest.approx(np.log(15), abs=1e-4)

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sar_codec.data.datasets import FixedPatches, PatchLoader, PositionSampler, RandomPatches
from sar_codec.data.patches import Area, Windows, survey
from sar_codec.errors import UserError

Scenes = Callable[..., Any]
MakeWindows = Callable[..., list[Windows]]

SIZE = 24
VMIN, VMAX = -30.0, 10.0


@pytest.fixture
def windows(array_scene: Scenes) -> MakeWindows:
    """Windows of images with values beyond the window of decibels on both sides."""

    def make(*shapes: tuple[int, int], size: int = SIZE, places: str = "abcdefgh") -> list[Windows]:
        rng = np.random.default_rng(0)
        images = [rng.normal(-10, 15, shape).astype(np.float32) for shape in shapes]
        scenes = [array_scene(*each) for each in zip(images, places, strict=False)]
        return [Windows(survey(Area.whole(each)), size) for each in scenes]

    return make


@pytest.fixture
def areas(windows: MakeWindows) -> list[Windows]:
    return windows((75, 100), (24, 24), (130, 50))


def random_patches(areas: list[Windows], seed: int = 0, augment: bool = True) -> RandomPatches:
    return RandomPatches(areas, SIZE, VMIN, VMAX, seed, augment)


def fixed_patches(areas: list[Windows]) -> FixedPatches:
    return FixedPatches(areas, SIZE, VMIN, VMAX)


def loader(
    dataset: RandomPatches | FixedPatches, num_workers: int = 0, seed: int = 0, shuffle: bool = True
) -> PatchLoader:
    return PatchLoader(dataset, 4, num_workers, seed, shuffle)


def epoch_of(batches: PatchLoader, epoch: int) -> Tensor:
    batches.set_epoch(epoch)
    return torch.cat(list(batches))


def read_directly(dataset: RandomPatches, epoch: int, index: int) -> Tensor:
    area, row, column = dataset.window(epoch, index)
    unit = (area.read(row, column, SIZE, SIZE) - VMIN) / (VMAX - VMIN)
    return torch.from_numpy(unit.clip(0, 1))


def eight_variants(patch: Tensor) -> Iterator[Tensor]:
    for turns in range(4):
        turned = torch.rot90(patch, turns, (-2, -1))
        yield turned
        yield turned.flip(-1)


def variant_of(patch: Tensor, window: Tensor) -> list[int]:
    """Which of the eight variants of a window a patch is."""
    variants = enumerate(eight_variants(window))
    return [index for index, variant in variants if torch.allclose(patch, variant, atol=1e-6)]


# Samples


def test_a_sample_is_an_image_tensor_in_zero_to_one(areas: list[Windows]) -> None:
    datasets = random_patches(areas), fixed_patches(areas)
    samples = torch.stack([each[0, index] for each in datasets for index in range(len(each))])
    assert samples.dtype == torch.float32 and samples.shape[1:] == (1, SIZE, SIZE)
    assert samples.min() == 0 and samples.max() == 1
    assert 0.2 < samples.mean() < 0.8


def test_patches_may_be_a_single_pixel(windows: MakeWindows) -> None:
    areas = windows((1, 1), (3, 2), size=1)
    dataset = RandomPatches(areas, 1, VMIN, VMAX, 0, augment=True)
    assert len(dataset) == len(FixedPatches(areas, 1, VMIN, VMAX)) == 7
    assert dataset[0, 6].shape == (1, 1, 1)


def test_a_sample_is_a_function_of_seed_epoch_and_index(areas: list[Windows]) -> None:
    positions = [(epoch, index) for epoch in (0, 1, 5) for index in range(6)]
    first = random_patches(areas, seed=3)
    expected = [first[position] for position in positions]
    np.random.seed(0)  # somebody else's randomness
    torch.manual_seed(1)
    again = random_patches(areas, seed=3)
    for position, sample in reversed(list(zip(positions, expected, strict=True))):
        assert torch.equal(again[position], sample)
    differ = {sample.numpy().tobytes() for sample in expected}
    assert len(differ) == len(positions)
    other_seed = random_patches(areas, seed=4)
    assert not any(
        torch.equal(other_seed[position], sample)
        for position, sample in zip(positions, expected, strict=True)
    )


def test_an_unaugmented_sample_is_its_window(areas: list[Windows]) -> None:
    dataset = random_patches(areas, augment=False)
    for index in range(len(dataset)):
        torch.testing.assert_close(dataset[1, index][0], read_directly(dataset, 1, index))


def test_augmentation_is_each_of_the_flips_and_turns_and_nothing_else(
    areas: list[Windows],
) -> None:
    dataset = random_patches(areas)
    seen = set()
    for epoch in range(8):
        for index in range(10):
            patch, window = dataset[epoch, index][0], read_directly(dataset, epoch, index)
            (variant,) = variant_of(patch, window)
            seen.add(variant)
    assert seen == set(range(8))


def test_augmentation_does_not_change_which_windows_are_drawn(areas: list[Windows]) -> None:
    plain, augmented = random_patches(areas, augment=False), random_patches(areas, augment=True)
    for index in range(len(plain)):
        assert plain.window(2, index)[1:] == augmented.window(2, index)[1:]


def test_each_image_has_as_many_samples_as_windows_fit_in_it(areas: list[Windows]) -> None:
    dataset = random_patches(areas)
    assert len(dataset) == 3 * 4 + 1 + 5 * 2
    for epoch in (0, 1):
        places = [dataset.window(epoch, index).area.scene.place for index in range(len(dataset))]
        assert places == ["a"] * 12 + ["b"] + ["c"] * 10


# Validation


def test_validation_is_every_window_once_and_the_same_in_each_epoch(areas: list[Windows]) -> None:
    dataset = fixed_patches(areas)
    given = [(each.area.scene.place, each.row, each.column) for each in dataset.windows]
    expected = [
        (each.area.scene.place, row, column)
        for each in areas
        for row, column in each.side_by_side()
    ]
    assert sorted(given) == sorted(expected)
    batches = loader(dataset, shuffle=False)
    assert torch.equal(epoch_of(batches, 0), epoch_of(batches, 9))
    assert torch.equal(
        epoch_of(batches, 0), torch.stack([dataset[0, n] for n in range(len(given))])
    )


def test_a_validation_sample_is_its_window(areas: list[Windows]) -> None:
    dataset = fixed_patches(areas)
    for index, (area, row, column) in enumerate(dataset.windows):
        unit = (area.read(row, column, SIZE, SIZE) - VMIN) / (VMAX - VMIN)
        np.testing.assert_allclose(dataset[0, index][0], unit.clip(0, 1), atol=1e-6)


def test_the_first_validation_windows_come_from_different_places(windows: MakeWindows) -> None:
    areas = windows(*[(72, 72)] * 5, places="aabcc")
    first = [each.area.scene.place for each in fixed_patches(areas).windows]
    assert first[:6] == ["a", "b", "c", "a", "b", "c"]


def test_the_bands_of_a_place_take_turns_in_validation(windows: MakeWindows) -> None:
    areas = windows((48, 48), (48, 48), places="aa")
    scenes = [id(each.area.scene) for each in fixed_patches(areas).windows]
    assert scenes[::2] == [scenes[0]] * 4 and scenes[1::2] == [scenes[1]] * 4
    assert scenes[0] != scenes[1]


# Order


@pytest.mark.parametrize("length", [1, 2, 31])
def test_the_order_is_a_permutation_that_depends_on_seed_and_epoch(length: int) -> None:
    orders = {}
    for seed in (0, 1):
        sampler = PositionSampler(length, seed, shuffle=True)
        for epoch in (0, 1, 7):
            sampler.epoch = epoch
            positions = list(sampler)
            assert positions == list(sampler) and len(sampler) == length
            assert {each for each, _ in positions} == {epoch}
            order = tuple(index for _, index in positions)
            assert sorted(order) == list(range(length))
            orders[seed, epoch] = order
    if length > 10:
        assert len(set(orders.values())) == len(orders)


def test_the_order_without_shuffling_is_that_of_the_indices() -> None:
    sampler = PositionSampler(5, 3, shuffle=False)
    sampler.epoch = 2
    assert list(sampler) == [(2, index) for index in range(5)]


def test_an_epoch_broken_off_begins_again_from_its_beginning(areas: list[Windows]) -> None:
    batches = loader(random_patches(areas))
    whole = epoch_of(batches, 1)
    next(iter(batches))
    assert torch.equal(torch.cat(list(batches)), whole)


# Loaders


def test_batches_do_not_depend_on_the_number_of_workers(areas: list[Windows]) -> None:
    dataset = random_patches(areas)
    in_process = loader(dataset)
    expected = [epoch_of(in_process, epoch) for epoch in (0, 1)]
    assert not torch.equal(expected[0], expected[1])
    for num_workers in (1, 2):
        # The workers stay for the second epoch, and get to know of it.
        batches = loader(dataset, num_workers)
        for epoch in (0, 1):
            assert torch.equal(epoch_of(batches, epoch), expected[epoch])
        assert torch.equal(epoch_of(loader(dataset, num_workers), 1), expected[1])


def test_batches_are_the_samples_in_the_samplers_order(areas: list[Windows]) -> None:
    dataset = random_patches(areas)
    batches = loader(dataset, seed=5)
    batches.set_epoch(3)
    expected = [dataset[position] for position in batches.positions]
    assert [len(each) for each in batches] == [4] * 5 + [3] and len(batches) == 6
    assert torch.equal(torch.cat(list(batches)), torch.stack(expected))


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("shuffle", [True, False])
def test_iterating_a_loader_draws_nothing_from_the_global_generators(
    areas: list[Windows], num_workers: int, shuffle: bool
) -> None:
    batches = loader(random_patches(areas) if shuffle else fixed_patches(areas), num_workers)
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()
    for epoch in (0, 1):
        epoch_of(batches, epoch)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tobytes() == before[1]
    assert random.getstate() == before[2]


def test_batches_do_not_depend_on_the_global_generators(areas: list[Windows]) -> None:
    dataset = random_patches(areas)
    torch.manual_seed(0)
    expected = epoch_of(loader(dataset), 2)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert torch.equal(epoch_of(loader(dataset), 2), expected)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_goes_bad_during_training_is_one_line(
    windows: MakeWindows, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    def cut_short(*window: int) -> None:
        raise UserError("x.tif: cannot be read at row 0")

    dataset = random_patches(windows((48, 48)))
    monkeypatch.setattr(type(dataset.areas[0].area.scene), "read", cut_short)
    batches = loader(dataset, num_workers)
    with pytest.raises(UserError) as refusal:
        next(iter(batches))
    batches.close()
    assert str(refusal.value) == "x.tif: cannot be read at row 0"


def test_closing_ends_the_workers_at_once_and_another_epoch_begins_new_ones(
    areas: list[Windows],
) -> None:
    batches = loader(random_patches(areas), num_workers=2)
    expected = epoch_of(batches, 1)
    for _ in range(2):
        assert len(multiprocessing.active_children()) == 2
        next(iter(batches))
        began = time.monotonic()
        batches.close()
        assert time.monotonic() - began < 4, "torch waits for 5 s for one that does not end"
        assert not multiprocessing.active_children()
        assert torch.equal(epoch_of(batches, 1), expected)
    batches.close()
    batches.close()


@pytest.mark.parametrize("processes", [2, 3, 7])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_processes_share_each_batch(areas: list[Windows], processes: int, num_workers: int) -> None:
    whole = loader(random_patches(areas))
    whole.set_epoch(3)
    whole.skip(1)
    expected = list(whole)
    parts = []
    for rank in range(processes):
        part = loader(random_patches(areas), num_workers)
        part.share(rank, processes)
        part.set_epoch(3)
        part.skip(1)
        parts.append(list(part))
        assert len(part) == len(whole)
        part.close()
    for number, batch in enumerate(expected):
        shared = [each[number] for each in parts]
        assert torch.equal(torch.cat(shared), batch)
        sizes = [len(each) for each in shared]
        assert max(sizes) - min(sizes) <= 1
        assert sizes[0] > 0


def test_a_batch_is_described_as_a_whole(areas: list[Windows]) -> None:
    whole, part = loader(random_patches(areas)), loader(random_patches(areas))
    part.share(1, 2)
    assert part.describe(0) == whole.describe(0)

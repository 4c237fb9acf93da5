import pytest
import torch

from sar_codec.models.interlacing import COARSE, FINE, NEAREST, Kind, Surroundings, passes

SIZES = [(1, 1), (1, 2), (2, 1), (1, 17), (16, 1), (5, 3), (8, 8), (13, 64), (64, 65)]


@pytest.mark.parametrize("size", SIZES)
def test_each_pixel_is_of_one_pass_and_told_by_earlier_ones_only(size: tuple[int, int]) -> None:
    is_known = torch.zeros(1, *size)
    is_known[0, 0, 0] = 1
    for each in passes(*size):
        surroundings = Surroundings(is_known, each)
        around = surroundings.of_rows(surroundings.rows)
        assert around.shape == (1, len(each.kind.offsets), *each.of(is_known).shape[1:])
        assert around.numel()
        assert (around == 1).all()
        assert (each.of(is_known) == 0).all()
        each.of(is_known).fill_(1)
    assert (is_known == 1).all()


def test_the_last_level_has_three_quarters_of_all_pixels() -> None:
    last = [each for each in passes(64, 64) if each.spacing == 1]
    assert sum(each.of(torch.zeros(64, 64)).numel() for each in last) == 64 * 64 * 3 / 4


@pytest.mark.parametrize("kind", COARSE + FINE)
def test_places_are_in_opposite_pairs_the_nearest_first(kind: Kind) -> None:
    places = kind.offsets
    assert len(set(places)) == len(places)
    assert all(a == (-b[0], -b[1]) for a, b in zip(places[0::2], places[1::2], strict=True))
    distances = [down**2 + right**2 for down, right in places]
    assert distances == sorted(distances)
    assert distances[NEAREST - 1] == distances[0] < distances[NEAREST] or not kind.is_between


@pytest.mark.parametrize("size", [(33, 40), (64, 64)])
def test_what_is_around_is_where_its_offset_says(size: tuple[int, int]) -> None:
    image = torch.arange(size[0] * size[1]).float().reshape(1, *size)
    for each in passes(*size):
        surroundings = Surroundings(image, each)
        around = surroundings.of_rows(surroundings.rows)[0]
        here = each.of(image)[0]
        inside = torch.zeros_like(image)
        edge = 8 * each.spacing
        inside[:, edge : size[0] - edge, edge : size[1] - edge] = 1
        for place, (down, right) in zip(around, each.kind.offsets, strict=True):
            expected = here + each.spacing * (down * size[1] + right)
            is_inside = each.of(inside)[0] == 1
            assert torch.equal(place[is_inside], expected[is_inside])


def test_rows_of_one_image_are_those_of_many() -> None:
    image = torch.rand(1, 40, 36)
    for each in passes(40, 36):
        surroundings = Surroundings(image, each)
        for some in (surroundings.rows[len(surroundings.rows) // 3 :], surroundings.rows[1::3]):
            rows = surroundings.of_rows_of_one(some, spare=2)[:-2]
            assert torch.equal(rows, surroundings.of_rows(some)[0].flatten(1))
            every = surroundings.of_rows(surroundings.rows)[:, :, some.start :: some.step]
            assert torch.equal(surroundings.of_rows(some), every)

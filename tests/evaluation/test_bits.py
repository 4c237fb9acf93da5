"""Tables of bits: of codecs whose size and error are known."""

from collections.abc import Sequence

import pytest
from offsetting import Offsetting

from sar_codec.evaluation.bits import bits_cells, summarise_bits
from sar_codec.evaluation.measuring import measured
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.scenes import Scene
from sar_codec.evaluation.summary import summarise


@pytest.fixture
def rows(scene: Scene) -> list[Row]:
    return list(
        measured(
            [scene],
            [
                Offsetting("a", 2, (16, 8), mode="bounded"),
                Offsetting("b", 1, (16, 8), mode="bounded"),
                Offsetting("c", 1, (64,), mode="lossless"),
                Offsetting("d", 1),
            ],
        )
    )


def test_codecs_of_bounds_are_compared_at_the_same_bound(rows: Sequence[Row], scene: Scene) -> None:
    first, second = summarise_bits(rows, "bounded", "a", seed=0)
    assert (first.codec, second.codec) == ("a", "b")
    assert second.bits_per_pixel == {
        16: pytest.approx(8 * 256 / scene.pixels),
        8: pytest.approx(8 * 64 / scene.pixels),
    }
    assert second.change == pytest.approx(-0.5)
    assert second.change_interval == pytest.approx((-0.5, -0.5))
    assert second.max_error_db == {16: pytest.approx(0.5), 8: pytest.approx(1)}
    assert second.block_bias_db == pytest.approx(1, abs=1e-4)


def test_a_mode_has_no_other_codecs(rows: Sequence[Row]) -> None:
    (found,) = summarise_bits(rows, "lossless", "a", seed=0)
    assert (found.codec, found.change) == ("c", None)
    assert [each.codec for each in summarise(rows, "d", seed=0)] == ["d"]


def test_tables_say_what_is_taken_within_each_bound(rows: Sequence[Row]) -> None:
    head, first, second = bits_cells(summarise_bits(rows, "bounded", "a", seed=0), "a")
    assert head[:4] == ["codec", "within 8 dB", "within 16 dB", "against a (95 %)"]
    assert first[3] == ""
    assert second[3] == "-50.0 % (-50.0 % to -50.0 %)"
    assert second[4] == "12.5 %"  # 1 dB within 8
    assert len(head) == len(first) == len(second)
    assert float(second[1]) < float(second[2])


def test_where_the_anchor_is_of_another_mode_there_is_no_column_for_it(rows: Sequence[Row]) -> None:
    head, line = bits_cells(summarise_bits(rows, "lossless", "a", seed=0), "a")
    assert head == ["codec", "bits a pixel", "encode / decode"]
    assert len(line) == 3

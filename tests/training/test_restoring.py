"""What of a checkpoint fits a model, and what is refused."""

import pytest
import torch

from sar_codec.errors import UserError
from sar_codec.training.restoring import check_same_architecture


def test_another_architecture_is_refused_with_the_names_that_differ() -> None:
    saved = {"a": torch.zeros(2, 3), "b": torch.zeros(1), "gone": torch.zeros(1)}
    expected = {"a": torch.zeros(2, 4), "b": torch.zeros(1), "new": torch.zeros(())}
    with pytest.raises(UserError) as refusal:
        check_same_architecture("x.pth", saved, expected)
    for part in (
        "a (2x3 in the checkpoint, 2x4 in the model)",
        "new (not in the",
        "gone (not in the",
    ):
        assert part in str(refusal.value)
    assert "b (" not in str(refusal.value)
    check_same_architecture("x.pth", saved, saved)

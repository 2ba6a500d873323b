from itertools import pairwise

import pytest

from harness.backbones.architecture import VGG16, feature_shape
from harness.core.strategy import N_CONVS


def test_vgg16_is_as_published() -> None:
    assert len(VGG16) == N_CONVS
    assert sum(9 * conv.in_channels * conv.out_channels + conv.out_channels for conv in VGG16) == 14_714_688
    assert [i for i, conv in enumerate(VGG16, start=1) if conv.pool_after] == [2, 4, 7, 10, 13]
    assert (VGG16[0].name, VGG16[-1].name) == ("block1_conv1", "block5_conv3")
    assert all(before.out_channels == after.in_channels for before, after in pairwise(VGG16))


def test_feature_shape() -> None:
    assert feature_shape(VGG16, 0, 48) == (48, 48, 3)
    assert feature_shape(VGG16, 1, 48) == (48, 48, 64)
    assert feature_shape(VGG16, 2, 48) == (24, 24, 64)
    assert feature_shape(VGG16, 5, 48) == (12, 12, 256)
    assert feature_shape(VGG16, 13, 224) == (7, 7, 512)
    with pytest.raises(ValueError, match="0 to 13, but got 14"):
        feature_shape(VGG16, 14, 48)
    with pytest.raises(ValueError, match="-1"):
        feature_shape(VGG16, -1, 48)

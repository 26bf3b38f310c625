"""Which pixels enlarging by the nearest neighbour shows, and the matrices that pick them."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def shown_places(
    enlarge: Callable[..., Tensor], size: tuple[int, int], /, *settings: Any, **named: Any
) -> tuple[Tensor, Tensor]:
    """Which column each new column shows, and which row each new row; asked of the operation itself.

    Args:
        enlarge: a picture [1, 1, H, W] and the settings -> [1, 1, rows, columns], by nearest neighbour.
        size: (H, W) of what is enlarged.
        settings: of the operation.
        named: of the operation, too.
    """
    height, width = size
    numbered = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    shown = enlarge(numbered, *settings, **named)[0, 0].long()
    return shown[0] % width, shown[:, 0] // width


def picking_matrix(places: Tensor, size: int) -> Tensor:
    """[places, size] of zeros, with a one in each row: the product with it picks places, and may pick one again."""
    return F.one_hot(places, size).float()


def picking_name(places: Tensor, size: int) -> str:
    """The name of such a matrix among constants."""
    return "_".join(["picks", str(size), *(str(int(place)) for place in places)])

"""How well a share of images is known, e.g. an accuracy on a few hundred held-out images."""

import math

Z = 1.959964


def share_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share in [0, 1] that was seen on `count` independent images (Wilson 1927).

    Raises:
        ValueError: no images.
    """
    if count < 1:
        raise ValueError("a share of no images has no interval")
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(0.0, centre - reach), min(1.0, centre + reach)

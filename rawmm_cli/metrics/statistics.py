"""How far a measured share may be from the true one."""

import math

NORMAL = 1.959963984540054  # quantile of the normal distribution for 95 %


def interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `right` of `count` were seen (Wilson 1927): ends from 0 to 1.

    Raises ValueError without any count."""
    if count < 1:
        raise ValueError("a share of nothing has no interval; allowed: a count from 1 on")
    share, spread = right / count, NORMAL**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = NORMAL * math.sqrt(share * (1 - share) / count + spread / count / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)

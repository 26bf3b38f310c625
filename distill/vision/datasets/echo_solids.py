"""Solids as signed distances: float32 fields in millimetres, negative inside.

They are exact on the surface and approximate away from it, which is all that thin walls need.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]  # float32 at run time; the stubs of NumPy widen products with scalars
Vector = NDArray[np.float64]

FAR_MM = np.float32(1e3)


class Points(NamedTuple):
    """Positions in one frame, each float32 of one common shape, millimetres."""

    x: Field
    y: Field
    z: Field


def ellipsoid(
    points: Points, centre_mm: tuple[float, float, float], radii_mm: Vector | tuple[float, float, float]
) -> Field:
    """Signed distance to an ellipsoid, first order (https://iquilezles.org/articles/ellipsoids)."""
    x, y, z = ((p - np.float32(c)) / np.float32(r) for p, c, r in zip(points, centre_mm, radii_mm, strict=True))
    scaled = np.sqrt(x * x + y * y + z * z)
    x, y, z = (p / np.float32(r) for p, r in zip((x, y, z), radii_mm, strict=True))
    slope = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
    return scaled * (scaled - 1) / slope


def tube(points: Points, start_mm: Vector, end_mm: Vector, radius_mm: float) -> Field:
    """Signed distance to a straight tube with round ends."""
    course = end_mm - start_mm
    share = np.clip(project(points, start_mm, course / (course @ course)), 0, 1)
    x, y, z = (p - np.float32(s) - np.float32(c) * share for p, s, c in zip(points, start_mm, course, strict=True))
    return np.sqrt(x * x + y * y + z * z) - np.float32(radius_mm)


def funnel(
    across1: Field, across2: Field, along: Field, radius_mm: float, length_mm: Field, gap1: float, gap2: float
) -> Field:
    """Distance to an elliptic funnel that narrows from `radius_mm` at along = 0 to gap x radius at its tip."""
    share = np.clip(along / length_mm, 0, 1)
    semi1 = radius_mm * (1 - share * (1 - gap1))
    semi2 = radius_mm * (1 - share * (1 - gap2))
    ring = np.abs(np.sqrt((across1 / semi1) ** 2 + (across2 / semi2) ** 2) - 1) * np.minimum(semi1, semi2)
    return np.maximum(ring, np.maximum(-along, along - length_mm)).astype(np.float32)


def carve(solid: Field, other: Field, wall_mm: float) -> Field:
    """`solid` without what lies in `other` or within `wall_mm` of it."""
    return np.maximum(solid, np.float32(wall_mm) - other)


def minimum(first: Field, *others: Field) -> Field:
    """Union of any number of solids."""
    for other in others:
        first = np.minimum(first, other)
    return first


def project(points: Points, origin_mm: Vector, way: Vector) -> Field:
    """Coordinate of the points along `way` from an origin."""
    return sum_of_products(points, way) - np.float32(origin_mm @ way)


def sum_of_products(points: Points, way: Vector) -> Field:
    """Scalar product of every point with one vector."""
    return points.x * np.float32(way[0]) + points.y * np.float32(way[1]) + points.z * np.float32(way[2])


def direction(azimuth_rad: float) -> Vector:
    """Unit vector across the left ventricle's axis."""
    return np.array([np.cos(azimuth_rad), np.sin(azimuth_rad), 0.0])


def unit(vector: Vector) -> Vector:
    """The vector scaled to length 1."""
    return vector / np.sqrt(vector @ vector)

"""The ten standard transthoracic views as positions of the probe, and how a real hand misses them.

A view is only a pose: where the probe stands, where it points and how it is turned. The same solids are cut by all of
them (`echo_anatomy`), so turning the probe from one view towards the next gives every picture in between.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.vision.datasets.echo_anatomy import (
    Heart,
    Scene,
    arch_scene,
    arch_structures,
    heart_scene,
    heart_structures,
)
from distill.vision.datasets.echo_solids import Field, Points, Vector, direction, unit


@dataclass(frozen=True)
class Pose:
    """The probe in the frame of what it looks at.

    Attributes:
        origin_mm: where the beams start.
        ahead: unit vector down the middle of the picture.
        right: unit vector to the right of the picture, at a right angle to `ahead`.
        depth_mm: how deep the picture reaches.
    """

    origin_mm: Vector
    ahead: Vector
    right: Vector
    depth_mm: float


@dataclass(frozen=True)
class View:
    """One class of the data set.

    Attributes:
        pose: the textbook position of the probe for a heart.
        scene: the solids that this view cuts.
        structures: which of them a pixel of a mask belongs to.
        liver: whether the beam comes through the liver (else through the chest wall).
        pose_spread: how far the hand strays from the textbook position, relative to the other views.
    """

    name: str
    pose: Callable[[Heart], Pose]
    scene: Callable[[Heart, Points], Scene] = heart_scene
    liver: bool = False
    pose_spread: float = 1.0
    structures: Callable[[Heart, Points], NDArray[np.uint8]] = heart_structures


def looking(origin_mm: Vector, target_mm: Vector, right: Vector, depth_mm: float) -> Pose:
    """A probe at `origin_mm` that points to `target_mm`, turned so that `right` is on the right of the picture."""
    ahead = unit(target_mm - origin_mm)
    return Pose(origin_mm, ahead, unit(right - (right @ ahead) * ahead), depth_mm)


def apical(azimuth_deg: float, target_mm: tuple[float, float, float]) -> Callable[[Heart], Pose]:
    """A probe at the apex; `azimuth_deg` is the side of the heart on the right of the picture."""

    def pose(heart: Heart) -> Pose:
        stand_off_mm = 0.65 * heart.lv_wall_mm + heart.anatomy.chest_wall_mm
        origin = np.array([0.0, 0.0, heart.lv_length_mm + stand_off_mm])
        depth_mm = origin[2] + 62
        return looking(origin, np.array(target_mm), direction(np.deg2rad(azimuth_deg)), depth_mm)

    return pose


def parasternal_long(heart: Heart) -> Pose:
    """A probe left of the sternum, its plane along the ventricle and the aortic root, the apex to the left."""
    front = direction(heart.anatomy.aorta_azimuth_rad)
    origin = (48 + 12 * heart.anatomy.rv_scale + heart.anatomy.chest_wall_mm) * front + np.array([0.0, 0.0, 6.0])
    return looking(origin, np.array([0.0, 0.0, 12.0]), np.array([0.0, 0.0, -1.0]), 140)


def parasternal_short(level: float, target_mm: tuple[float, float]) -> Callable[[Heart], Pose]:
    """A probe left of the sternum, its plane across the ventricle at `level` x its length from the base."""

    def pose(heart: Heart) -> Pose:
        height = np.array([0.0, 0.0, level * heart.lv_length_mm])
        origin = (52 + 10 * heart.anatomy.rv_scale + heart.anatomy.chest_wall_mm) * direction(np.deg2rad(106)) + height
        target = np.array([*target_mm, 0.0]) + height
        return looking(origin, target, direction(np.deg2rad(16)), 125)

    return pose


def subcostal(heart: Heart) -> Pose:
    """A probe below the breastbone: liver first, then the right and the left heart, the apex to the right."""
    slope_rad = np.deg2rad(24)
    ahead = np.array([np.cos(slope_rad), 0.0, -np.sin(slope_rad)])
    target = np.array([-12.0, -2.0, 16.0])
    origin = target - (76 + heart.anatomy.chest_wall_mm) * ahead
    return looking(origin, target, np.array([0.0, 0.0, 1.0]), 160)


def suprasternal(heart: Heart) -> Pose:
    """A probe in the notch above the breastbone, its plane along the arch of the aorta."""
    depth_mm = 95 + heart.anatomy.arch_radius_mm
    return looking(np.zeros(3), np.array([0.0, 0.0, 60.0]), np.array([1.0, 0.0, 0.0]), depth_mm)


VIEWS: tuple[View, ...] = (
    View("plax", parasternal_long),
    View("psax-aortic", parasternal_short(-0.1, (-10.0, 8.0))),
    View("psax-mitral", parasternal_short(0.12, (-6.0, 0.0))),
    View("psax-papillary", parasternal_short(0.46, (-5.0, 0.0))),
    View("a2c", apical(80, (2.0, 0.0, -10.0))),
    View("a3c", apical(139, (-2.0, 2.0, -10.0))),
    View("a4c", apical(4, (-11.0, -6.0, -10.0))),
    View("a5c", apical(12, (-10.0, 14.0, -6.0))),
    View("subcostal", subcostal, liver=True, pose_spread=1.3),
    View("suprasternal", suprasternal, scene=arch_scene, pose_spread=1.3, structures=arch_structures),
)


def varied_pose(rng: np.random.Generator, pose: Pose, *, spread: float) -> Pose:
    """The pose a hand really reaches: turned, tilted, rocked, slid, and with another depth setting."""
    turn_deg, tilt_deg, rock_deg = spread * rng.normal(0, (9.0, 3.2, 6.5))
    slide_right_mm, slide_across_mm, slide_ahead_mm = spread * rng.normal(0, (4.0, 2.5, 2.5))
    zoom = np.exp(rng.uniform(-0.13, 0.2))
    normal = np.cross(pose.ahead, pose.right)
    right = rotate(pose.right, pose.ahead, np.deg2rad(turn_deg))
    across = rotate(normal, pose.ahead, np.deg2rad(turn_deg))
    ahead = rotate(pose.ahead, right, np.deg2rad(tilt_deg))
    across = rotate(across, right, np.deg2rad(tilt_deg))
    ahead, right = (rotate(way, across, np.deg2rad(rock_deg)) for way in (ahead, right))
    slide = slide_right_mm * pose.right + slide_across_mm * normal + slide_ahead_mm * pose.ahead
    return Pose(pose.origin_mm + slide, ahead, right, pose.depth_mm * zoom)


def rotate(vector: Vector, axis: Vector, angle_rad: float) -> Vector:
    """The vector turned around a unit axis (Rodrigues)."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return vector * cosine + np.cross(axis, vector) * sine + axis * (axis @ vector) * (1 - cosine)


def beam_points(pose: Pose, ranges_mm: Field, angles_rad: Field) -> Points:
    """Where the samples of every beam lie: float32 [len(ranges_mm), len(angles_rad)] for each coordinate."""
    ways = np.cos(angles_rad)[None] * pose.ahead[:, None] + np.sin(angles_rad)[None] * pose.right[:, None]
    x, y, z = (ranges_mm[:, None] * way[None] + origin for way, origin in zip(ways, pose.origin_mm, strict=True))
    return Points(x.astype(np.float32), y.astype(np.float32), z.astype(np.float32))


def places_along(pose: Pose, depths_mm: Field, angles_rad: Field) -> Points:
    """Where single samples lie, each at its own depth and angle: float32 of their common shape."""
    along, aside = depths_mm * np.cos(angles_rad), depths_mm * np.sin(angles_rad)
    rows = zip(pose.ahead, pose.right, pose.origin_mm, strict=True)
    x, y, z = ((along * ahead + aside * right + origin).astype(np.float32) for ahead, right, origin in rows)
    return Points(x, y, z)

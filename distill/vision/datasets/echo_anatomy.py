"""The heart of a virtual patient as implicit solids in three dimensions, to be cut by any imaging plane.

Heart frame, millimetres: the origin is the centre of the left ventricle's base, +z points to its apex, and looking from
the apex to the base +x is the patient's left (lateral wall) and +y is anterior. Azimuths turn from +x to +y: the right
ventricle lies at 165 degrees, the aortic root at 137 degrees. The suprasternal view has a frame of its own, in which +x
is the right of the picture, +z the depth below the sternal notch, and y the distance from the plane of the arch.

All views cut the same solids, so a plane between two views really shows a picture between the two.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.vision.datasets.echo_solids import (
    FAR_MM,
    Field,
    Points,
    Vector,
    carve,
    direction,
    ellipsoid,
    funnel,
    minimum,
    project,
    tube,
    unit,
)


@dataclass(frozen=True)
class Anatomy:
    """What stays the same in every image of one patient. Lengths are end-diastolic millimetres.

    Attributes:
        ejection: relative shortening of the left ventricle's radius from diastole to systole.
        aorta_azimuth_rad: where the aortic root sits around the left ventricle's axis.
        aorta_tilt: how far the root leans forward, as sideways per lengthwise millimetre.
    """

    lv_length_mm: float
    lv_radius_mm: float
    lv_wall_mm: float
    ejection: float
    rv_scale: float
    la_scale: float
    ra_scale: float
    aorta_radius_mm: float
    aorta_azimuth_rad: float
    aorta_tilt: float
    papillary_radius_mm: float
    leaflet_mm: float
    arch_radius_mm: float
    chest_wall_mm: float


@dataclass(frozen=True)
class Heart:
    """One patient's heart at one moment of the cycle.

    Attributes:
        contraction: 0 = end of diastole, 1 = end of systole.
        av_opening: opening of the mitral and tricuspid valves, 0 = closed, 1 = wide open.
        aortic_opening: opening of the aortic and pulmonary valves, 0 = closed, 1 = wide open.
    """

    anatomy: Anatomy
    contraction: float
    av_opening: float
    aortic_opening: float

    @property
    def lv_length_mm(self) -> float:
        """From the base to the apex of the cavity."""
        return self.anatomy.lv_length_mm * (1 - 0.12 * self.contraction)

    @property
    def lv_radius_mm(self) -> float:
        """Largest radius of the cavity."""
        return self.anatomy.lv_radius_mm * (1 - self.anatomy.ejection * self.contraction)

    @property
    def lv_wall_mm(self) -> float:
        """Thickness of the wall at the base."""
        return self.anatomy.lv_wall_mm * (1 + 0.4 * self.contraction)

    @property
    def aortic_valve_mm(self) -> Vector:
        """Centre of the aortic annulus."""
        return 22.0 * direction(self.anatomy.aorta_azimuth_rad) + np.array([0.0, 0.0, -1.0])

    @property
    def aortic_axis(self) -> Vector:
        """Unit vector along the aortic root, away from the ventricle."""
        return unit(self.anatomy.aorta_tilt * direction(self.anatomy.aorta_azimuth_rad) + np.array([0.0, 0.0, -1.0]))


@dataclass(frozen=True)
class Scene:
    """What the beam meets at every sample: signed distances in millimetres, float32 of one common shape.

    Attributes:
        blood_mm: to the nearest cavity.
        organ_mm: to the outer surface (the pericardium, or the outside of the vessels).
        muscle_mm: to muscle that stands free inside a cavity (papillary muscles, moderator band).
        leaflet_mm: to the nearest valve leaflet.
    """

    blood_mm: Field
    organ_mm: Field
    muscle_mm: Field
    leaflet_mm: Field


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A new patient: sizes spread as in a mixed clinic, from slim and athletic to thick-walled or dilated hearts."""
    size = rng.uniform(0.88, 1.12)
    return Anatomy(
        lv_length_mm=84 * size * rng.uniform(0.93, 1.07),
        lv_radius_mm=23 * size * rng.uniform(0.84, 1.18),
        lv_wall_mm=rng.uniform(7.5, 12.5),
        ejection=rng.uniform(0.15, 0.38),
        rv_scale=size * rng.uniform(0.85, 1.18),
        la_scale=size * rng.uniform(0.82, 1.2),
        ra_scale=size * rng.uniform(0.82, 1.18),
        aorta_radius_mm=14.5 * size * rng.uniform(0.88, 1.15),
        aorta_azimuth_rad=np.deg2rad(rng.normal(137, 5)),
        aorta_tilt=rng.uniform(0.1, 0.45),
        papillary_radius_mm=6.3 * size * rng.uniform(0.8, 1.2),
        leaflet_mm=rng.uniform(0.6, 1.1),
        arch_radius_mm=27 * size * rng.uniform(0.9, 1.15),
        chest_wall_mm=rng.uniform(8, 18),
    )


STRUCTURES = ("background", "LV cavity", "LV wall", "LA", "RV", "RA", "aorta")
"""What a pixel of a picture may show, in the order of the masks."""


class Chambers(NamedTuple):
    """Signed distances to what holds blood, and to the left ventricle's outer wall."""

    lv: Field
    lv_outer: Field
    aorta: Field
    la: Field
    ra: Field
    rv: Field
    rvot: Field
    descending: Field


def chambers(heart: Heart, points: Points) -> Chambers:
    """The chambers and great arteries at these positions of the heart frame."""
    lv, lv_outer = left_ventricle(heart, points)
    aorta = np.minimum(aortic_root(heart, points), outflow_tract(heart, points))
    la = np.minimum(carve(left_atrium(heart, points), aorta, 2.5), mitral_orifice(heart, points))
    ra = carve(carve(right_atrium(heart, points), la, 2.5), aorta, 2.5)
    rv = carve(carve(right_ventricle(heart, points), lv_outer, 0.0), aorta, 3.0)
    ra = np.minimum(ra, carve(tricuspid_orifice(heart, points), lv_outer, 0.0))
    rvot = carve(carve(carve(right_outflow(heart, points), aorta, 2.5), lv_outer, 0.0), la, 3.0)
    descending = tube(points, np.array([6.0, -54.0, 15.0]), np.array([66.0, 6.0, -35.0]), 10.5)
    return Chambers(lv, lv_outer, aorta, la, ra, rv, rvot, descending)


def heart_structures(heart: Heart, points: Points) -> NDArray[np.uint8]:
    """What of `STRUCTURES` lies at these positions of the heart frame, of their shape.

    Papillary muscles belong to the cavity, as is usual when one measures its volume; so does what lies between the
    cavity and the aortic valve. The right outflow tract belongs to the right ventricle, the descending aorta to the
    aorta.
    """
    parts = chambers(heart, points)
    along, _, _ = root_frame(heart, points)
    shape = np.zeros(points.x.shape, dtype=np.uint8)
    for solid, name in (
        (parts.lv_outer, "LV wall"),
        (minimum(parts.rv, parts.rvot), "RV"),
        (parts.ra, "RA"),
        (parts.la, "LA"),
        (np.minimum(parts.aorta, parts.descending), "aorta"),
        (np.where(along < 0, parts.aorta, FAR_MM), "LV cavity"),
        (parts.lv, "LV cavity"),
    ):
        shape[solid < 0] = STRUCTURES.index(name)
    return shape


def heart_scene(heart: Heart, points: Points) -> Scene:
    """The four chambers, the great arteries and their valves at these positions of the heart frame."""
    lv, lv_outer, aorta, la, ra, rv, rvot, descending = chambers(heart, points)
    blood = minimum(lv, aorta, la, ra, rv, rvot)
    organ = minimum(lv_outer, aorta - 3, la - 3, ra - 3, rv - 4.5, rvot - 3.5)
    return Scene(
        blood_mm=np.minimum(blood, descending),
        organ_mm=np.minimum(organ, descending - 2.5),
        muscle_mm=np.minimum(papillary_muscles(heart, points), moderator_band(heart, points)),
        leaflet_mm=minimum(mitral_valve(heart, points), tricuspid_valve(heart, points), aortic_valve(heart, points)),
    )


def arch_scene(heart: Heart, points: Points) -> Scene:
    """The aortic arch with its three branches, the right pulmonary artery and the left atrium, in the arch's frame."""
    vessels, artery, atrium = arch_vessels(heart, points)
    below = carve(np.minimum(artery, atrium), vessels.arch, 3.0)
    blood = np.minimum(vessels.all, below)
    nothing = np.full_like(blood, FAR_MM)
    return Scene(blood_mm=blood, organ_mm=blood - np.float32(2.5), muscle_mm=nothing, leaflet_mm=nothing)


def arch_structures(heart: Heart, points: Points) -> NDArray[np.uint8]:
    """What of `STRUCTURES` lies at these positions of the arch's frame, of their shape."""
    vessels, _, atrium = arch_vessels(heart, points)
    shape = np.zeros(points.x.shape, dtype=np.uint8)
    shape[carve(atrium, vessels.arch, 3.0) < 0] = STRUCTURES.index("LA")
    shape[vessels.all < 0] = STRUCTURES.index("aorta")
    return shape


class ArchVessels(NamedTuple):
    """Signed distances to the arch alone, and to it with its branches."""

    arch: Field
    all: Field


def arch_vessels(heart: Heart, points: Points) -> tuple[ArchVessels, Field, Field]:
    """The aortic arch with its three branches, the right pulmonary artery, the left atrium."""
    anatomy = heart.anatomy
    radius = anatomy.arch_radius_mm
    tube_mm = 0.8 * anatomy.aorta_radius_mm * (1 + 0.06 * heart.contraction)
    centre_z = 20 + anatomy.chest_wall_mm + radius + tube_mm
    # A half circle with two straight legs: beyond the centre only the sideways distance counts.
    ring = np.hypot(points.x, np.minimum(points.z - centre_z, 0))
    taper = np.where(points.x < 0, np.float32(1.15), np.float32(0.85))
    arch = np.hypot(ring - np.float32(radius), points.y) - np.float32(tube_mm) * taper
    top = np.array([0.0, 0.0, centre_z - radius])
    branches = [
        tube(points, top + np.array([x, 0, abs(x) * 0.2]), top + np.array([1.6 * x - 4, 3.0, -45.0]), 0.3 * tube_mm + 1)
        for x in (-0.5 * radius, -0.02 * radius, 0.42 * radius)
    ]
    artery_z = centre_z - radius + 2.1 * tube_mm + 8
    artery = tube(points, np.array([-2.0, -60, artery_z]), np.array([2.0, 60, artery_z]), 0.75 * tube_mm)
    atrium = ellipsoid(points, (0, 0, artery_z + 34), np.array([20, 25, 17]) * anatomy.la_scale)
    return ArchVessels(arch, minimum(arch, *branches)), artery, atrium


def left_ventricle(heart: Heart, points: Points) -> tuple[Field, Field]:
    """Signed distances to the bullet-shaped cavity and to its outer wall, which thins towards the apex."""
    length, radius = heart.lv_length_mm, heart.lv_radius_mm
    bullet = ellipsoid(points, (0, 0, 0.25 * length), (radius, radius, 0.75 * length))
    wall = heart.lv_wall_mm * (1 - 0.35 * np.clip(points.z / length, 0, 1))
    return np.maximum(bullet, -points.z), np.maximum(bullet - wall.astype(np.float32), -points.z - 3)


def left_atrium(heart: Heart, points: Points) -> Field:
    """Signed distance to the left atrium, behind and above the mitral valve; it fills while the ventricle empties."""
    scale = heart.anatomy.la_scale * (1 + 0.12 * heart.contraction)
    radii = np.array([22.0, 20.0, 25.0]) * scale
    return np.maximum(ellipsoid(points, (7, -7, 0.1 - radii[2]), radii), points.z + 3)


def right_atrium(heart: Heart, points: Points) -> Field:
    """Signed distance to the right atrium."""
    radii = np.array([21.0, 21.0, 23.0]) * heart.anatomy.ra_scale * (1 + 0.1 * heart.contraction)
    return np.maximum(ellipsoid(points, (-20 - radii[0], -9, 3 - radii[2]), radii), points.z - 1)


def right_ventricle(heart: Heart, points: Points) -> Field:
    """Signed distance to the inflow and body of the right ventricle, which leans on the left one up to its apex."""
    scale = heart.anatomy.rv_scale * (1 - 0.16 * heart.contraction)
    lean = Points(points.x - np.float32(0.34) * points.z, points.y, points.z)
    radii = (30 * scale, 33 * scale, 0.62 * heart.lv_length_mm)
    body = ellipsoid(lean, (-37 * heart.anatomy.rv_scale, 9, 0.16 * heart.lv_length_mm), radii)
    ripple = 0.9 * np.sin(0.55 * points.z + 0.4 * points.y) * np.cos(0.5 * points.x)
    return np.maximum(body + ripple.astype(np.float32), 4 - points.z)


def right_outflow(heart: Heart, points: Points) -> Field:
    """Signed distance to the right outflow tract and pulmonary artery, wrapped around the front of the aorta."""
    radius = 12.0 * heart.anatomy.rv_scale * (1 - 0.15 * heart.contraction)
    push = heart.anatomy.aorta_radius_mm + radius - 26.5
    course = [(-46, 16, 2), (-27, 40 + push, 0), (-4, 45 + push, -11), (16, 34, -19), (20, 12, -34)]
    corners = [np.array(corner, dtype=np.float64) for corner in course]
    radii = [radius, radius, radius, 0.85 * radius]
    return minimum(*(tube(points, a, b, r) for a, b, r in zip(corners[:-1], corners[1:], radii, strict=True)))


def aortic_root(heart: Heart, points: Points) -> Field:
    """Signed distance to the aortic root with its sinuses and the ascending aorta."""
    along, across1, across2 = root_frame(heart, points)
    radius = np.float32(heart.anatomy.aorta_radius_mm)
    profile = radius * (np.float32(0.88) + np.float32(0.22) * np.exp(-(((along - 8) / 7) ** 2)))
    return np.maximum(np.hypot(across1, across2) - profile, np.maximum(-along - 3, along - 140))


def outflow_tract(heart: Heart, points: Points) -> Field:
    """Signed distance to the passage from the left ventricle to the aortic valve."""
    inside = 0.4 * heart.aortic_valve_mm + np.array([0.0, 0.0, 17.0])
    return tube(points, inside, heart.aortic_valve_mm, 0.68 * heart.anatomy.aorta_radius_mm)


def mitral_orifice(heart: Heart, points: Points) -> Field:
    """Signed distance to the opening between left atrium and left ventricle."""
    centre, radius = mitral_annulus(heart)
    distance = np.hypot(points.x - np.float32(centre[0]), points.y - np.float32(centre[1]))
    return np.maximum(distance - np.float32(radius), np.abs(points.z + 1) - 5)


def tricuspid_orifice(heart: Heart, points: Points) -> Field:
    """Signed distance to the opening between right atrium and right ventricle."""
    distance = np.hypot(points.x + np.float32(tricuspid_x(heart)), points.y + 2)
    return np.maximum(distance - np.float32(14.5 * heart.anatomy.rv_scale), np.abs(points.z - 3) - 6)


def mitral_annulus(heart: Heart) -> tuple[Vector, float]:
    """Centre and radius of the mitral annulus: it shares its front edge with the aortic root."""
    radius = 0.66 * heart.anatomy.lv_radius_mm
    hinge = 22 - 0.95 * heart.anatomy.aorta_radius_mm
    return (hinge - radius) * direction(heart.anatomy.aorta_azimuth_rad), radius


def tricuspid_x(heart: Heart) -> float:
    """How far to the right of the left ventricle's axis the tricuspid valve sits."""
    return 0.6 * heart.anatomy.lv_radius_mm + heart.anatomy.lv_wall_mm + 15.5 * heart.anatomy.rv_scale


def mitral_valve(heart: Heart, points: Points) -> Field:
    """Signed distance to the two mitral leaflets: a dome when closed, a fish mouth in short axis when open."""
    centre, radius = mitral_annulus(heart)
    azimuth = heart.anatomy.aorta_azimuth_rad
    front = (points.x - centre[0]) * np.cos(azimuth) + (points.y - centre[1]) * np.sin(azimuth)
    side = (points.y - centre[1]) * np.cos(azimuth) - (points.x - centre[0]) * np.sin(azimuth)
    length = (9 + 11 * heart.av_opening) * (1 + 0.22 * np.tanh(front / 4))
    gap = 0.04 + 0.48 * heart.av_opening
    return funnel(front, side, points.z, radius, length, gap, 0.8) - np.float32(heart.anatomy.leaflet_mm)


def tricuspid_valve(heart: Heart, points: Points) -> Field:
    """Signed distance to the tricuspid leaflets, hinged a little nearer to the apex than the mitral ones."""
    radius = 14.5 * heart.anatomy.rv_scale
    length = np.full_like(points.z, 8 + 9 * heart.av_opening)
    x, y = points.x + np.float32(tricuspid_x(heart)), points.y + 2
    gap = 0.04 + 0.62 * heart.av_opening
    return funnel(x, y, points.z - 4, radius, length, gap, gap) - np.float32(0.9 * heart.anatomy.leaflet_mm)


def aortic_valve(heart: Heart, points: Points) -> Field:
    """Signed distance to the aortic cusps: closed, three of them meet in a star; open, they lie at the wall."""
    along, across1, across2 = root_frame(heart, points)
    radius = 0.95 * heart.anatomy.aorta_radius_mm
    gap = 0.04 + 0.76 * heart.aortic_opening
    length = np.full_like(along, 10.0)
    cusps = funnel(across1, across2, along, radius, length, gap, gap)
    if heart.aortic_opening < 0.3:
        cusps = np.minimum(cusps, star(along, across1, across2, radius))
    return cusps - np.float32(0.8 * heart.anatomy.leaflet_mm)


def star(along: Field, across1: Field, across2: Field, radius_mm: float) -> Field:
    """Distance to the three lines on which the closed cusps touch."""
    nearest = np.full_like(along, FAR_MM)
    for angle_rad in np.deg2rad([0.0, 120.0, 240.0]):
        outwards = across1 * np.float32(np.cos(angle_rad)) + across2 * np.float32(np.sin(angle_rad))
        aside = across2 * np.float32(np.cos(angle_rad)) - across1 * np.float32(np.sin(angle_rad))
        nearest = np.minimum(nearest, np.where((outwards > 0) & (outwards < radius_mm), np.abs(aside), FAR_MM))
    return np.maximum(nearest, np.abs(along - 7) - 5)


def papillary_muscles(heart: Heart, points: Points) -> Field:
    """Signed distance to the anterolateral and posteromedial papillary muscles."""
    length, radius = heart.lv_length_mm, heart.anatomy.papillary_radius_mm * (1 + 0.15 * heart.contraction)
    reach = heart.lv_radius_mm
    muscles = []
    for azimuth_deg in (32.0, 236.0):
        way = direction(np.deg2rad(azimuth_deg))
        tip = 0.66 * reach * way + np.array([0, 0, 0.33 * length])
        root = 0.84 * reach * way + np.array([0, 0, 0.62 * length])
        muscles.append(tube(points, tip, root, radius))
    return minimum(*muscles)


def moderator_band(heart: Heart, points: Points) -> Field:
    """Signed distance to the muscle bundle that crosses the right ventricle near its apex."""
    x = heart.lv_radius_mm + heart.lv_wall_mm
    septal = np.array([-x + 4, 4.0, 0.5 * heart.lv_length_mm])
    return tube(points, septal, septal + np.array([-26.0, 6, 0.06 * heart.lv_length_mm]), 1.8)


def root_frame(heart: Heart, points: Points) -> tuple[Field, Field, Field]:
    """Coordinates along the aortic root from its annulus, and on two directions across it."""
    axis, centre = heart.aortic_axis, heart.aortic_valve_mm
    first = unit(np.cross(axis, direction(heart.anatomy.aorta_azimuth_rad)))
    second = np.cross(axis, first)
    along, across1, across2 = (project(points, centre, way) for way in (axis, first, second))
    return along, across1, across2

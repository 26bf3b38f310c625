"""indoor-phantom: furnished rooms seen by a camera, and how far away every pixel is, ray by ray, generated on the spot.

A room is a box, its furniture are boxes and balls that stand on its floor, all in colours and patterns drawn per room;
one lamp lights it. Several cameras look at each room. Every picture depends only on (seed, split, room, camera). The
rooms of the splits are different ones. It looks like no real room; it is made so that depth can be learnt from
perspective, size, shading and occlusion.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from distill.contract import sha256_of_json
from distill.terminal import progress
from distill.vision.cache import cache_folder, cached_array
from distill.vision.datasets.split import DatasetSettings, Split, SplitName
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import DEPTH_CLASSES, TaskName

GENERATOR_VERSION = 1
SIZE_PX = 96
SPLITS: tuple[SplitName, ...] = ("train", "validation")
FARTHEST_M = 10.0
"""Rays that reach farther are not known (0), as a depth camera has it."""
CAMERA_HEIGHT_M = (1.0, 1.8)
EPSILON_M = 1e-4
AMBIENT = 0.35

Vector = NDArray[np.float64]


class IndoorPhantom(DatasetSettings):
    """The embedded data set for depth: RGB, 96 px, metres of every pixel, several pictures of each room.

    Attributes:
        train_rooms: rooms in the training split; none of them is in the validation split.
        images_per_room: pictures of each room, from different places.
        seed: of the data, not of the training.
    """

    kind: Literal["indoor-phantom"] = "indoor-phantom"
    train_rooms: Annotated[int, Limits(ge=1, le=100_000)] = 300
    validation_rooms: Annotated[int, Limits(ge=1, le=100_000)] = 80
    images_per_room: Annotated[int, Limits(ge=1, le=1000)] = 4
    seed: Annotated[int, Limits(ge=0)] = 0

    @property
    def channels(self) -> Literal[3]:
        """3: RGB."""
        return 3

    @property
    def task(self) -> TaskName:
        """Depth."""
        return "depth"

    def load(self, split: SplitName, preprocess: Preprocess, *, cache: Path | None = None) -> Split:
        """The pictures and depth maps of one split, from the cache folder if they were generated before.

        Args:
            split: which part.
            preprocess: brings the 96 px pictures to the network's size.
            cache: folder to keep generated pictures in; `cache_folder()` if not given.
        """
        whole = cached_views(self, split, cache or cache_folder())
        images, metres = whole[..., :3].astype(np.uint8), np.ascontiguousarray(whole[..., 3])
        first = 0 if split == "train" else self.train_rooms
        rooms = np.arange(first, first + self.rooms(split), dtype=np.int64)
        return Split(
            preprocess.resize_batch(images),
            np.zeros(len(images), dtype=np.int64),
            DEPTH_CLASSES,
            np.repeat(rooms, self.images_per_room),
            task=self.task,
            truth=preprocess.resize_truths(metres),
        )

    def rooms(self, split: SplitName) -> int:
        """How many rooms a split has."""
        return self.train_rooms if split == "train" else self.validation_rooms


@dataclass(frozen=True)
class Surface:
    """How a thing looks: two colours in [0, 1] in stripes or checks of a width in metres."""

    colours: Vector
    width_m: float
    checked: bool


@dataclass(frozen=True)
class Box:
    """An upright box, from corner to corner; the room itself is one, seen from inside."""

    low: Vector
    high: Vector
    surface: Surface


@dataclass(frozen=True)
class Ball:
    """A ball."""

    centre: Vector
    radius_m: float
    surface: Surface


@dataclass(frozen=True)
class Room:
    """A furnished room: x and y are horizontal, z is up, the floor is at 0; metres."""

    walls: Box
    things: tuple[Box | Ball, ...]
    lamp: Vector


def draw_surface(rng: np.random.Generator) -> Surface:
    """Two shades of one colour, or two colours."""
    colour = rng.uniform(0.15, 0.95, 3)
    other = np.clip(colour * rng.uniform(0.55, 0.95), 0, 1) if rng.random() < 0.7 else rng.uniform(0.15, 0.95, 3)
    return Surface(np.stack([colour, other]), float(rng.uniform(0.12, 0.6)), bool(rng.random() < 0.4))


def draw_room(rng: np.random.Generator) -> Room:
    """A room of 3 to 8 m with 3 to 8 things in it."""
    size = np.array([rng.uniform(3, 8), rng.uniform(3, 8), rng.uniform(2.3, 3.2)])
    things: list[Box | Ball] = []
    for _ in range(int(rng.integers(3, 9))):
        place = rng.uniform(0.3, size[:2] - 0.3)
        if rng.random() < 0.3:
            radius = float(rng.uniform(0.12, 0.45))
            things.append(Ball(np.array([*place, radius]), radius, draw_surface(rng)))
        else:
            half, height = rng.uniform(0.15, 0.7, 2), rng.uniform(0.3, 2.0)
            low = np.array([*np.maximum(place - half, 0), 0.0])
            high = np.array([*np.minimum(place + half, size[:2]), height])
            things.append(Box(low, high, draw_surface(rng)))
    lamp = np.array([*(size[:2] * rng.uniform(0.3, 0.7, 2)), size[2] - 0.2])
    return Room(Box(np.zeros(3), size, draw_surface(rng)), tuple(things), lamp)


def draw_rays(rng: np.random.Generator, room: Room) -> tuple[Vector, Vector]:
    """A camera outside the furniture: its place [3], and the way of every pixel's ray [96 * 96, 3], 1 m ahead each.

    A ray's length in these units is depth along the camera's axis, as depth cameras measure it.
    """
    size = room.walls.high
    place = _somewhere(size, rng)
    for _ in range(49):
        if not any(_holds(thing, place) for thing in room.things):
            break
        place = _somewhere(size, rng)
    towards = np.array([*(size[:2] * rng.uniform(0.25, 0.75, 2)), rng.uniform(0.3, 1.4)])
    ahead = (towards - place) / np.linalg.norm(towards - place)
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    half = np.tan(np.deg2rad(rng.uniform(56, 64)) / 2)
    across = (np.arange(SIZE_PX) + 0.5) / SIZE_PX * 2 - 1
    ways = ahead + half * (across[None, :, None] * right - across[:, None, None] * up)
    return place, ways.reshape(-1, 3)


def _somewhere(size: Vector, rng: np.random.Generator) -> Vector:
    return np.array([*(size[:2] * rng.uniform(0.08, 0.92, 2)), rng.uniform(*CAMERA_HEIGHT_M)])


def _holds(thing: Box | Ball, place: Vector) -> bool:
    margin = 0.25
    if isinstance(thing, Ball):
        return bool(np.linalg.norm(place - thing.centre) < thing.radius_m + margin)
    return bool(((place > thing.low - margin) & (place < thing.high + margin)).all())


def meet_box(box: Box, start: Vector, ways: Vector, *, inside: bool = False) -> tuple[Vector, Vector]:
    """Where rays meet a box from outside (or from inside): depths [N], inf for none, and the normals there [N, 3]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = (box.low - start) / ways, (box.high - start) / ways
    first, last = np.minimum(near, far), np.maximum(near, far)
    enter, leave = first.max(axis=1), last.min(axis=1)
    axis = last.argmin(axis=1) if inside else first.argmax(axis=1)
    met = leave > EPSILON_M if inside else (enter < leave) & (enter > EPSILON_M)
    normals = np.zeros_like(ways)
    rows = np.arange(len(ways))
    normals[rows, axis] = -np.sign(ways[rows, axis])
    return np.where(met, leave if inside else enter, np.inf), normals


def meet_ball(ball: Ball, start: Vector, ways: Vector) -> tuple[Vector, Vector]:
    """Where rays meet a ball: depths [N], inf for none, and the normals there [N, 3]."""
    offset = start - ball.centre
    a, b = (ways**2).sum(1), ways @ offset
    root = b**2 - a * (offset @ offset - ball.radius_m**2)
    depths = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    depths = np.where(depths > EPSILON_M, depths, np.inf)
    normals = (start + np.where(np.isfinite(depths), depths, 0)[:, None] * ways - ball.centre) / ball.radius_m
    return depths, normals


def colours_at(surface: Surface, points: Vector) -> Vector:
    """The pattern's colour at points [N, 3]."""
    fields = np.floor(points / surface.width_m + 1e-6).astype(np.int64)
    number = fields.sum(axis=1) if surface.checked else fields[:, 0] + fields[:, 1]
    return surface.colours[number % 2]


def view(rng: np.random.Generator, room: Room) -> NDArray[np.float32]:
    """One picture of a room: float32 [96, 96, 4], RGB as whole numbers in 0..255, and depth in metres (0: unknown)."""
    start, ways = draw_rays(rng, room)
    depth, normals = meet_box(room.walls, start, ways, inside=True)
    colours = colours_at(room.walls.surface, start + depth[:, None] * ways)
    for thing in room.things:
        met, facing = meet_ball(thing, start, ways) if isinstance(thing, Ball) else meet_box(thing, start, ways)
        nearer = met < depth
        depth = np.where(nearer, met, depth)
        normals[nearer] = facing[nearer]
        colours[nearer] = colours_at(thing.surface, start + met[nearer, None] * ways[nearer])
    points = start + depth[:, None] * ways
    light = room.lamp - points
    distance = np.linalg.norm(light, axis=1)
    facing_light = np.maximum((normals * light).sum(1) / distance, 0)
    brightness = AMBIENT + (1 - AMBIENT) * facing_light * np.minimum(1, (3.0 / np.maximum(distance, 0.5)))
    pixels = colours * brightness[:, None] * rng.uniform(0.75, 1.15) + rng.normal(0, 0.012, colours.shape)
    rgb = np.rint(np.clip(pixels, 0, 1) * 255)
    known = np.where(depth <= FARTHEST_M, depth, 0)
    return np.concatenate([rgb, known[:, None]], axis=1).astype(np.float32).reshape(SIZE_PX, SIZE_PX, 4)


def random_stream(seed: int, split: SplitName, *place: int) -> np.random.Generator:
    """The random numbers of one room (place = room) or of one picture (place = room, picture)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7, SPLITS.index(split), *place)))


def room_views(config: IndoorPhantom, split: SplitName, number: int) -> NDArray[np.float32]:
    """All pictures of one room, [images_per_room, 96, 96, 4] as `view`; `number` counts within the split."""
    room = draw_room(random_stream(config.seed, split, number))
    return np.stack([view(random_stream(config.seed, split, number, k), room) for k in range(config.images_per_room)])


def generate(config: IndoorPhantom, split: SplitName) -> NDArray[np.float32]:
    """Every picture of one split, room after room; one core makes more than 5,000 a minute."""
    parts: list[NDArray[np.float32]] = []
    with progress(unit="rooms") as display:
        task = display.add_task(f"generating {split} rooms", total=config.rooms(split), note="")
        for number in range(config.rooms(split)):
            parts.append(room_views(config, split, number))
            display.advance(task)
    return np.concatenate(parts)


def cached_views(config: IndoorPhantom, split: SplitName, folder: Path) -> NDArray[np.float32]:
    """The pictures of a split from the cache if it holds them unharmed, else generated and put there if possible."""
    key = sha256_of_json([config.model_dump(mode="json"), GENERATOR_VERSION, np.__version__, split])
    return cached_array(folder / f"indoor-phantom-{key[:16]}.array", lambda: generate(config, split))

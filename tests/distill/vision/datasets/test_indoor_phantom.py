"""Depth of the embedded rooms: right by geometry, the same every time, rooms apart."""

from pathlib import Path

import numpy as np
import pytest

from distill.vision.datasets.indoor_phantom import (
    SIZE_PX,
    Ball,
    Box,
    IndoorPhantom,
    Surface,
    draw_rays,
    draw_room,
    generate,
    meet_ball,
    meet_box,
    random_stream,
    room_views,
)
from distill.vision.preprocess import Preprocess

SMALL = IndoorPhantom(train_rooms=3, validation_rooms=2, images_per_room=2, seed=4)
PLAIN = Surface(np.ones((2, 3)), 1.0, False)


def test_a_ray_meets_a_box_and_a_ball_where_it_must() -> None:
    start, ways = np.array([0.0, 0.0, 1.0]), np.array([[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.0]])
    depths, normals = meet_box(Box(np.array([2.0, -1.0, 0.0]), np.array([3.0, 1.1, 2.0]), PLAIN), start, ways)
    assert depths.tolist() == [2.0, 2.0, np.inf]
    assert normals[0].tolist() == [-1, 0, 0]
    inside, _ = meet_box(Box(np.array([-1.0, -1.0, 0.0]), np.array([4.0, 1.0, 2.0]), PLAIN), start, ways, inside=True)
    assert inside.tolist() == [4.0, 2.0, 1.0]
    depths, normals = meet_ball(Ball(np.array([5.0, 0.0, 1.0]), 1.0, PLAIN), start, ways)
    assert depths == pytest.approx([4.0, np.inf, np.inf])
    assert normals[0] == pytest.approx([-1, 0, 0])


def test_depth_is_that_of_the_nearest_thing_and_within_the_room() -> None:
    room = draw_room(random_stream(4, "train", 0))
    stream = random_stream(4, "train", 0, 1)
    start, ways = draw_rays(stream, room)
    depth = room_views(SMALL, "train", 0)[1, ..., 3].ravel()
    points = start + depth[:, None] * ways
    assert (points > room.walls.low - 1e-3).all()
    assert (points < room.walls.high + 1e-3).all()
    for thing in room.things:
        met, _ = meet_ball(thing, start, ways) if isinstance(thing, Ball) else meet_box(thing, start, ways)
        assert (depth <= met + 1e-4).all()


def test_rooms_are_the_same_every_time_and_others_in_the_other_split(tmp_path: Path) -> None:
    train = generate(SMALL, "train")
    assert np.array_equal(train, generate(SMALL, "train"))
    assert np.array_equal(train[2:4], room_views(SMALL, "train", 1))
    preprocess = Preprocess(size_px=48, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    splits = [SMALL.load(name, preprocess, cache=tmp_path) for name in ("train", "validation")]
    groups = [set(split.groups.tolist()) for split in splits if split.groups is not None]
    assert not groups[0] & groups[1]
    assert splits[0].task == "depth"
    assert splits[0].truth is not None
    assert splits[0].truth.shape == (6, 48, 48)
    assert np.asarray(splits[0].truth).dtype == np.float32
    assert splits[0].sha256() != splits[1].sha256()


def test_pictures_are_lit_and_deep_enough_to_learn_from() -> None:
    views = generate(SMALL, "train")
    assert views.shape == (6, SIZE_PX, SIZE_PX, 4)
    assert 40 < views[..., :3].mean() < 190
    assert views[..., 3].std() > 0.5
    assert (views[..., 3] > 0).mean() > 0.95

"""echo-phantom: ten standard echocardiographic views of virtual patients, generated on the spot.

The data set that needs no download: `echo_anatomy` is the heart, `echo_views` the probe, `echo_physics` the scanner,
all three fed with random patients, hands and settings here.
Every picture depends only on (seed, split, patient, image), so neither the order of work nor the size of the data set
changes it. Nobody should draw medical conclusions from it.

    python -m distill.vision.datasets.echo_sheet results/echo-phantom.png     # pictures of all views
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from distill.contract import sha256_of_json
from distill.terminal import progress
from distill.vision.cache import cache_folder, cached_array
from distill.vision.datasets.echo_anatomy import STRUCTURES, Anatomy, Heart, draw_anatomy
from distill.vision.datasets.echo_physics import (
    NUM_BEAMS,
    Machine,
    Window,
    angles_rad,
    beam_image,
    ranges_mm,
    scan_convert,
    screen_places,
    smooth_noise,
)
from distill.vision.datasets.echo_solids import Field
from distill.vision.datasets.echo_views import VIEWS, Pose, View, beam_points, places_along, varied_pose
from distill.vision.datasets.split import DatasetSettings, Split, SplitName
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import IGNORED, TaskName

GENERATOR_VERSION = 4
MASKS_VERSION = 1
SHADOW_DB = 20.0
"""Loss of a beam from which on nobody could say what lies behind."""
SIZE_PX = 112
CLASS_NAMES = tuple(view.name for view in VIEWS)
SPLITS: tuple[SplitName, ...] = ("train", "validation")


class EchoPhantom(DatasetSettings):
    """The embedded data set: greyscale, 112 px, ten classes, many images per virtual patient.

    Attributes:
        train_patients: patients in the training split; none of them is in the validation split.
        images_per_patient: images of each patient, one view after the other; with a multiple of 10 each patient shows
            every view equally often.
        seed: of the data, not of the training.
    """

    kind: Literal["echo-phantom"] = "echo-phantom"
    train_patients: Annotated[int, Limits(ge=1, le=100_000)] = 180
    validation_patients: Annotated[int, Limits(ge=1, le=100_000)] = 60
    images_per_patient: Annotated[int, Limits(ge=1, le=1000)] = 20
    seed: Annotated[int, Limits(ge=0)] = 0

    @property
    def channels(self) -> Literal[1]:
        """1: greyscale stays one channel."""
        return 1

    @property
    def stored_px(self) -> int:
        """As drawn."""
        return SIZE_PX

    def load(self, split: SplitName, preprocess: Preprocess, *, cache: Path | None = None) -> Split:
        """The images of one split, from the cache folder if they were generated before.

        Args:
            split: which part.
            preprocess: brings the 112 px images to the network's size.
            cache: folder to keep generated images in; `cache_folder()` if not given.
        """
        images = cached_images(self, split, cache or cache_folder())
        return Split(preprocess.resize_batch(images), self.labels(split), CLASS_NAMES, self.groups(split))

    def patients(self, split: SplitName) -> int:
        """How many patients a split has."""
        return self.train_patients if split == "train" else self.validation_patients

    def labels(self, split: SplitName) -> NDArray[np.int64]:
        """The view of every image, int64 [patients x images_per_patient]."""
        numbers = np.arange(self.patients(split), dtype=np.int64)
        return view_number(numbers[:, None], np.arange(self.images_per_patient)[None]).ravel()

    def groups(self, split: SplitName) -> NDArray[np.int64]:
        """The patient of every image; numbers go on from the training to the validation split."""
        first = 0 if split == "train" else self.train_patients
        numbers = np.arange(first, first + self.patients(split), dtype=np.int64)
        return np.repeat(numbers, self.images_per_patient)


class EchoPhantomMasks(EchoPhantom):
    """The same pictures, of which every pixel's chamber, wall or vessel is to be told (`echo_anatomy.STRUCTURES`).

    Not known (255) is what lies in a shadow that leaves the sector dark; what is outside it is background.
    """

    kind: Literal["echo-phantom-masks"] = "echo-phantom-masks"  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def task(self) -> TaskName:
        """Segmentation."""
        return "segmentation"

    def load(self, split: SplitName, preprocess: Preprocess, *, cache: Path | None = None) -> Split:
        """The images and masks of one split; arguments as `EchoPhantom.load`."""
        views = super().load(split, preprocess, cache=cache)
        masks = preprocess.resize_truths(cached_masks(self, split, cache or cache_folder()))
        nothing = np.zeros(len(masks), dtype=np.int64)
        return Split(views.images, nothing, STRUCTURES, views.groups, task=self.task, truth=masks)


@dataclass(frozen=True)
class Patient:
    """A virtual patient and the one who scans them.

    Attributes:
        quality: how well ultrasound passes the chest, 0 = hardly, 1 = like water.
        gain_db: brightness that this person likes.
        range_db: contrast that this person likes; less is harder.
        beam_width: focused beam of this probe, in beams.
    """

    anatomy: Anatomy
    quality: float
    gain_db: float
    range_db: float
    beam_width: float


def draw_patient(rng: np.random.Generator) -> Patient:
    """A new patient with a habitual scanner setting."""
    return Patient(
        anatomy=draw_anatomy(rng),
        quality=rng.beta(2.2, 1.6),
        gain_db=rng.normal(0, 3),
        range_db=rng.uniform(44, 58),
        beam_width=rng.uniform(0.9, 1.4),
    )


def random_stream(seed: int, split: SplitName, *place: int) -> np.random.Generator:
    """The random numbers of one patient (place = patient) or of one image (place = patient, image)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), *place)))


def view_number(number: int | NDArray[np.int64], image: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which view an image shows: all ten in turn, each patient starting elsewhere so that any count is balanced."""
    return (7 * number + image) % len(VIEWS)


def patient_images(config: EchoPhantom, split: SplitName, number: int) -> NDArray[np.uint8]:
    """All images of one patient, uint8 [images_per_patient, 112, 112]; `number` counts within the split."""
    return np.stack([shot.image for shot in shots(config, split, number)])


def patient_masks(config: EchoPhantom, split: SplitName, number: int) -> NDArray[np.uint8]:
    """What each pixel of these images shows, uint8 of the same shape: an index into `STRUCTURES`, or 255."""
    return np.stack([shot.mask() for shot in shots(config, split, number)])


def shots(config: EchoPhantom, split: SplitName, number: int) -> "Iterator[Shot]":
    """All pictures of one patient."""
    patient = draw_patient(random_stream(config.seed, split, number))
    views = view_number(number, np.arange(config.images_per_patient))
    streams = (random_stream(config.seed, split, number, image) for image in range(config.images_per_patient))
    return (draw_shot(rng, patient, VIEWS[view]) for rng, view in zip(streams, views, strict=True))


@dataclass(frozen=True)
class Shot:
    """One picture of a patient, and what it was made of."""

    image: NDArray[np.uint8]
    view: View
    heart: Heart
    pose: Pose
    machine: Machine
    window: Window
    apex_px: tuple[float, float]

    def mask(self) -> NDArray[np.uint8]:
        """What each pixel shows, uint8 [112, 112]: an index into `STRUCTURES`; 255 in the shadow of ribs and lung.

        The solids are cut at the pixels' own places, not on the grid of the beams.
        """
        half_angle, depth_mm = self.machine.half_angle_rad, self.pose.depth_mm
        sector, depths, angles = screen_places(half_angle, depth_mm, size_px=SIZE_PX, apex_px=self.apex_px)
        places = places_along(self.pose, depths, angles)
        shown = self.view.structures(self.heart, places)
        beams = np.linspace(-half_angle, half_angle, NUM_BEAMS)
        loss_db = np.interp(angles, beams, self.window.beam_loss_db) * np.clip((depths - 8) / 25, 0, 1)
        shown[loss_db > SHADOW_DB] = IGNORED
        mask = np.zeros((SIZE_PX, SIZE_PX), dtype=np.uint8)
        mask[sector] = shown
        return mask


def draw_shot(rng: np.random.Generator, patient: Patient, view: View) -> Shot:
    """One picture of a patient: a moment of the heart beat, a hand that holds the probe, a setting, a window."""
    heart = draw_heart(rng, patient.anatomy)
    pose = varied_pose(rng, view.pose(heart), spread=view.pose_spread)
    machine = draw_machine(rng, patient)
    window = draw_window(rng, patient)
    points = beam_points(pose, ranges_mm(pose.depth_mm), angles_rad(machine.half_angle_rad))
    picture = beam_image(rng, view.scene(heart, points), machine, window, depth_mm=pose.depth_mm, liver=view.liver)
    apex_px = (rng.uniform(-3, 6), SIZE_PX / 2 + rng.normal(0, 2))
    image = scan_convert(picture, machine.half_angle_rad, pose.depth_mm, size_px=SIZE_PX, apex_px=apex_px)
    return Shot(image, view, heart, pose, machine, window, apex_px)


def draw_heart(rng: np.random.Generator, anatomy: Anatomy) -> Heart:
    """A moment of the heart beat: filling with open inflow valves, or ejecting with an open aortic valve."""
    if rng.random() < 0.5:
        return Heart(anatomy, rng.uniform(0, 0.4), av_opening=rng.uniform(0.3, 1), aortic_opening=0.0)
    return Heart(anatomy, rng.uniform(0.4, 1), av_opening=rng.uniform(0, 0.05), aortic_opening=rng.uniform(0.4, 1))


def draw_machine(rng: np.random.Generator, patient: Patient) -> Machine:
    """The setting of one picture, around the habits of this patient's examiner."""
    return Machine(
        half_angle_rad=np.deg2rad(rng.uniform(35, 45)),
        focus_mm=rng.uniform(60, 110),
        beam_width=patient.beam_width,
        pulse_mm=rng.uniform(0.7, 1.0),
        range_db=patient.range_db,
        gain_db=patient.gain_db + rng.normal(0, 2),
        tgc_db=tuple(rng.normal(0, 2.5, 8)),
        noise_db=rng.uniform(-72, -62) + 14 * (1 - patient.quality),
    )


def draw_window(rng: np.random.Generator, patient: Patient) -> Window:
    """How well the beams get through in one picture."""
    poor = np.clip(1 - patient.quality + rng.normal(0, 0.15), 0, 1)
    return Window(
        beam_loss_db=draw_beam_loss_db(rng, poor),
        haze_db=rng.uniform(-30, -16) + 8 * poor,
        dropout=rng.uniform(0.3, 1),
        contrast_db=rng.uniform(20, 34) - 8 * poor,
        chest_wall_mm=0.7 * patient.anatomy.chest_wall_mm,
        surroundings_db=rng.uniform(-34, -22),
    )


def draw_beam_loss_db(rng: np.random.Generator, poor: float) -> Field:
    """Uneven contact, and often a rib or lung in the way of some beams: float32 [NUM_BEAMS], 0 = no loss."""
    beams = np.linspace(-1, 1, NUM_BEAMS, dtype=np.float32)
    loss = 4 * poor * np.abs(smooth_noise(rng, (NUM_BEAMS, 2), (8, 1))[:, 0])
    if rng.random() < 0.25 + 0.5 * poor:
        edge, side = rng.uniform(0.25, 1), rng.choice([-1.0, 1.0])
        loss = loss + 30 / (1 + np.exp(-(side * beams - edge) * 18))
    if rng.random() < 0.35 * poor:
        middle, width = rng.uniform(-0.8, 0.8), rng.uniform(0.05, 0.14)
        loss = loss + 22 * np.exp(-0.5 * ((beams - middle) / width) ** 2)
    return loss.astype(np.float32)


def generate(config: EchoPhantom, split: SplitName) -> NDArray[np.uint8]:
    """Every image of one split, uint8 [N, 112, 112, 1], patient after patient.

    One core makes more than 10,000 images a minute. Threads add nothing (the arrays are small, Python's lock is the
    limit), and processes are not worth their hazards for half a minute that the cache saves the next time.
    """
    count = config.patients(split)
    patients = (patient_images(config, split, number) for number in range(count))
    return np.concatenate(list(with_progress(patients, count, f"generating {split} images")))[..., None]


def generate_masks(config: EchoPhantom, split: SplitName) -> NDArray[np.uint8]:
    """The mask of every image of one split, uint8 [N, 112, 112], as `generate` orders them."""
    count = config.patients(split)
    patients = (patient_masks(config, split, number) for number in range(count))
    return np.concatenate(list(with_progress(patients, count, f"generating {split} masks")))


def with_progress(items: Iterator[NDArray[np.uint8]], count: int, title: str) -> Iterator[NDArray[np.uint8]]:
    """Pass items on while a bar on stderr shows how far they are."""
    with progress(unit="patients") as display:
        task = display.add_task(title, total=count, note="")
        for item in items:
            yield item
            display.advance(task)


def cached_images(config: EchoPhantom, split: SplitName, folder: Path) -> NDArray[np.uint8]:
    """The images of a split from the cache if it holds them unharmed, else generated and put there if possible."""
    return cached_array(folder / f"echo-phantom-{_key(config, split)}.array", lambda: generate(config, split))


def cached_masks(config: EchoPhantom, split: SplitName, folder: Path) -> NDArray[np.uint8]:
    """The masks of a split, kept as its images are."""
    name = f"echo-phantom-masks-{MASKS_VERSION}-{_key(config, split)}.array"
    return cached_array(folder / name, lambda: generate_masks(config, split))


def _key(config: EchoPhantom, split: SplitName) -> str:
    drawn = EchoPhantom(**config.model_dump(exclude={"kind"})).model_dump(mode="json")
    return sha256_of_json([drawn, GENERATOR_VERSION, np.__version__, split])[:16]

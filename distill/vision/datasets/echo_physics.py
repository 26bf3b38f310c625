"""From solids to a B-mode picture: echoes along beams, speckle, attenuation, shadows, display.

Everything happens in beam space [samples, beams] until `scan_convert` puts the sector on the screen. Echo strengths are
amplitudes; gains, losses and the display's range are in decibels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.vision.datasets.echo_anatomy import Scene
from distill.vision.datasets.echo_solids import Field

NUM_SAMPLES = 144
NUM_BEAMS = 96
PADDING_BEAMS = 16


@dataclass(frozen=True)
class Machine:
    """The scanner as set by the person at it.

    Attributes:
        half_angle_rad: half the opening of the sector.
        focus_mm: depth at which the beam is narrowest.
        beam_width: width of the focused beam, in beams (standard deviation).
        pulse_mm: length of the pulse (standard deviation).
        range_db: what the display shows between black and white.
        gain_db: brightness.
        tgc_db: gain at each of eight equal steps of depth, beyond what the loss in tissue needs.
        noise_db: electronic noise at the probe; it grows with the gain that makes up for the loss in depth.
    """

    half_angle_rad: float
    focus_mm: float
    beam_width: float
    pulse_mm: float
    range_db: float
    gain_db: float
    tgc_db: tuple[float, ...]
    noise_db: float


@dataclass(frozen=True)
class Window:
    """What the patient's chest does to the beams in one picture.

    Attributes:
        beam_loss_db: loss of each beam, [NUM_BEAMS], 0 = none.
        haze_db: clutter of the chest wall near the probe.
        dropout: how much weaker a wall is that runs along the beam, 0 = as strong, 1 = invisible.
        contrast_db: how much the blood is below the muscle.
        chest_wall_mm: thickness of the layers below the probe.
        surroundings_db: echo of what lies around the heart.
    """

    beam_loss_db: Field
    haze_db: float
    dropout: float
    contrast_db: float
    chest_wall_mm: float
    surroundings_db: float


def ranges_mm(depth_mm: float) -> Field:
    """Depth of each sample along a beam."""
    return ((np.arange(NUM_SAMPLES) + 0.5) * (depth_mm / NUM_SAMPLES)).astype(np.float32)


def angles_rad(half_angle_rad: float) -> Field:
    """Angle of each beam from the middle of the sector."""
    return np.linspace(-half_angle_rad, half_angle_rad, NUM_BEAMS, dtype=np.float32)


def beam_image(
    rng: np.random.Generator, scene: Scene, machine: Machine, window: Window, *, depth_mm: float, liver: bool
) -> Field:
    """The log-compressed picture in beam space, float32 [NUM_SAMPLES, NUM_BEAMS], 0 = black to 1 = white."""
    depths = ranges_mm(depth_mm)
    diffuse, specular = reflectivity(rng, scene, window, depths, liver=liver)
    loss_db = window.beam_loss_db[None] * np.clip((depths - 8) / 25, 0, 1)[:, None]
    gain = decibel(depth_gain_db(machine)[:, None] - loss_db)
    envelope = np.abs(echo(rng, diffuse * gain, specular * gain, machine, depths))
    noise_gain = decibel(machine.noise_db + depth_gain_db(machine) + 26 * depths / 150)[:, None]
    noise = rng.rayleigh(0.7, envelope.shape).astype(np.float32) * noise_gain
    level_db = 20 * np.log10(np.hypot(envelope, noise) + np.float32(1e-6))
    return np.clip((level_db + machine.gain_db) / machine.range_db + 1, 0, 1).astype(np.float32)


def reflectivity(
    rng: np.random.Generator, scene: Scene, window: Window, depths_mm: Field, *, liver: bool
) -> tuple[Field, Field]:
    """Diffuse (speckling) and specular (mirroring) echo amplitude at every sample; 1 is a strong mirror.

    Returns:
        Two float32 arrays of the scene's shape, both >= 0.
    """
    facing = across_beam(scene.blood_mm, depths_mm)
    muscle_db = -20 - 9 * window.dropout * (1 - facing)
    tissue_db = np.where(scene.organ_mm < 0, muscle_db, surroundings_db(rng, scene, window, depths_mm, liver=liver))
    inside = np.minimum(-scene.blood_mm, scene.muscle_mm)
    blood_db = -20 - window.contrast_db
    # One millimetre from tissue to blood: trabeculae and the thickness of the slice blur the border.
    level_db = tissue_db + (blood_db - tissue_db) * np.clip(inside + np.float32(0.5), 0, 1)
    diffuse = decibel(np.where(scene.leaflet_mm < 0, np.maximum(level_db, -10), level_db))
    haze = decibel(window.haze_db - depths_mm / 1.6)[:, None]
    border = decibel(-14 - 16 * window.dropout * (1 - facing)) * bump(scene.blood_mm - 0.7, 0.8)
    pericardium = decibel(-8 - 24 * window.dropout * (1 - facing)) * bump(scene.organ_mm - 1.0, 0.9)
    leaflets = decibel(np.float32(-10)) * bump(np.maximum(scene.leaflet_mm, 0), 0.5) * (scene.blood_mm < 1)
    # Real surfaces are not polished: the mirrors come and go along the wall.
    patches = decibel(4 * smooth_noise(rng, scene.blood_mm.shape, (24, 16)) - 1)
    return diffuse + haze, ((border + pericardium) * patches + leaflets).astype(np.float32)


def surroundings_db(rng: np.random.Generator, scene: Scene, window: Window, depths_mm: Field, *, liver: bool) -> Field:
    """Echo level outside the heart: layers of the chest wall or liver in front, fat and lung around."""
    around = window.surroundings_db - np.clip(scene.organ_mm - 3, 0, 40) * np.float32(0.35)
    lumps = smooth_noise(rng, scene.blood_mm.shape, (9, 7))
    around = around + 5 * lumps
    if liver:
        vessels = 14 * np.clip(smooth_noise(rng, scene.blood_mm.shape, (5, 6)) - 1.3, 0, 1)
        front = np.where((depths_mm < 75)[:, None] & (scene.organ_mm > 3), -21 - vessels, around)
        around = np.where((np.abs(scene.organ_mm - 4) < 1.2) & (depths_mm < 75)[:, None], np.float32(-12), front)
    layers = -14 + 5 * np.sin(depths_mm * np.float32(rng.uniform(1.0, 1.8)))
    return np.where((depths_mm < window.chest_wall_mm)[:, None], layers[:, None], around).astype(np.float32)


def echo(
    rng: np.random.Generator, diffuse: Field, specular: Field, machine: Machine, depths_mm: Field
) -> NDArray[np.complex64]:
    """The demodulated echo: random scatterers and mirrors, blurred by a pulse that is widest away from the focus.

    Scatterers are scaled by the energy of the blur, so that even tissue has the same mean brightness at every depth;
    mirrors keep their phase and hence their amplitude.
    """
    sigma_beams = machine.beam_width * (1 + 2.2 * (1 - depths_mm / machine.focus_mm) ** 2 / (1 + depths_mm / 60))
    sigma_samples = machine.pulse_mm / float(depths_mm[1] - depths_mm[0])
    energy = np.sqrt(4 * np.pi * sigma_beams * sigma_samples)[:, None].astype(np.float32)
    scatter = rng.standard_normal((2, *diffuse.shape), dtype=np.float32)
    source = np.empty(diffuse.shape, dtype=np.complex64)
    source.real = scatter[0] * diffuse * energy * np.float32(np.sqrt(0.5)) + specular
    source.imag = scatter[1] * diffuse * energy * np.float32(np.sqrt(0.5))
    return blur_beams(blur_depth(source, sigma_samples), sigma_beams)


def blur_depth(source: NDArray[np.complex64], sigma_samples: float) -> NDArray[np.complex64]:
    """Convolution along the beams with a Gaussian pulse of unit sum."""
    # Here, because importing it takes longer than importing all data sets, and few who do so draw any picture.
    from scipy import ndimage

    blurred = np.empty_like(source)
    blurred.real = ndimage.gaussian_filter1d(source.real, sigma_samples, axis=0, mode="nearest", truncate=3)
    blurred.imag = ndimage.gaussian_filter1d(source.imag, sigma_samples, axis=0, mode="nearest", truncate=3)
    return blurred


def blur_beams(source: NDArray[np.complex64], sigma_beams: Field) -> NDArray[np.complex64]:
    """Convolution across the beams with a Gaussian of unit sum, whose width differs for each sample."""
    padded = source.shape[1] + PADDING_BEAMS
    wave = 2 * np.pi * np.fft.fftfreq(padded).astype(np.float32)
    response = np.exp(-0.5 * (sigma_beams[:, None] * wave[None]) ** 2).astype(np.float32)
    blurred = np.fft.ifft(np.fft.fft(source, padded, axis=1) * response, axis=1)
    return blurred[:, : source.shape[1]].astype(np.complex64)


def scan_convert(
    picture: Field, half_angle_rad: float, depth_mm: float, *, size_px: int, apex_px: tuple[float, float]
) -> NDArray[np.uint8]:
    """The sector on a black screen: float [NUM_SAMPLES, NUM_BEAMS] in 0..1 to uint8 [size_px, size_px].

    `apex_px` is the (row, column) of the probe; the sector reaches from there to two pixels above the lower edge.
    """
    from scipy import ndimage

    sector, depths, angles = screen_places(half_angle_rad, depth_mm, size_px=size_px, apex_px=apex_px)
    sample = depths * np.float32(NUM_SAMPLES / depth_mm) - np.float32(0.5)
    beam = (angles / np.float32(half_angle_rad) + 1) * np.float32((NUM_BEAMS - 1) / 2)
    screen = np.zeros((size_px, size_px), dtype=np.uint8)
    shown = ndimage.map_coordinates(picture, [sample, beam], order=1, mode="nearest")
    screen[sector] = np.rint(shown * 255).astype(np.uint8)
    return screen


def screen_places(
    half_angle_rad: float, depth_mm: float, *, size_px: int, apex_px: tuple[float, float]
) -> tuple[NDArray[np.bool_], Field, Field]:
    """Which pixels of a screen belong to the sector, and the depth in mm and the angle of each of those."""
    row, column = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    row, column = row - np.float32(apex_px[0]), column - np.float32(apex_px[1])
    mm_per_px = depth_mm / (size_px - 2 - apex_px[0])
    depths = np.hypot(row, column) * np.float32(mm_per_px)
    angles = np.arctan2(column, row)
    sector = (depths < depth_mm) & (depths > 3) & (np.abs(angles) < half_angle_rad) & (row > 0)
    return sector, depths[sector], angles[sector]


def across_beam(distance_mm: Field, depths_mm: Field) -> Field:
    """How squarely a beam meets the surfaces of a signed distance: 0 = along the surface, 1 = straight on."""
    slope = np.empty_like(distance_mm)
    slope[1:-1] = distance_mm[2:] - distance_mm[:-2]
    slope[0], slope[-1] = slope[1], slope[-2]
    return np.clip(np.abs(slope) / np.float32(2 * (depths_mm[1] - depths_mm[0])), 0, 1)


def depth_gain_db(machine: Machine) -> Field:
    """The sliders of the time-gain compensation, interpolated: float32 [NUM_SAMPLES]."""
    sliders = np.linspace(0, NUM_SAMPLES - 1, len(machine.tgc_db))
    return np.interp(np.arange(NUM_SAMPLES), sliders, machine.tgc_db).astype(np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cells: tuple[int, int]) -> Field:
    """Lumps of unit variance, roughly `cells` of them along each side."""
    coarse = rng.standard_normal((cells[0] + 1, cells[1] + 1), dtype=np.float32)
    rows = np.linspace(0, cells[0], shape[0], dtype=np.float32)
    columns = np.linspace(0, cells[1], shape[1], dtype=np.float32)
    return interpolate(interpolate(coarse, rows).T, columns).T


def interpolate(values: Field, positions: Field) -> Field:
    """Linear interpolation along the first axis."""
    low = np.minimum(positions.astype(np.int64), len(values) - 2)
    share = (positions - low)[:, None].astype(np.float32)
    return values[low] * (1 - share) + values[low + 1] * share


def bump(distance_mm: Field, width_mm: float) -> Field:
    """A Gaussian ridge of height 1 around distance 0."""
    return np.exp(-0.5 * (distance_mm / np.float32(width_mm)) ** 2)


def decibel(level_db: Field | np.float32) -> Field:
    """Amplitude of a level."""
    return np.power(np.float32(10), np.asarray(level_db, dtype=np.float32) / 20)

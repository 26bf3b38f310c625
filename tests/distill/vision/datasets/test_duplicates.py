import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill.vision.datasets import Split, SplitName
from distill.vision.datasets.duplicates import Fingerprints, fingerprints, near, of_split, remarks


def photos(count: int, *, seed: int = 0, size: int = 48) -> NDArray[np.uint8]:
    """Smooth random scenes, uint8 [N, size, size, 3], each unlike the others."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in small]
    )


def changed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same photo brighter, with noise and after a detour over a smaller size."""
    small = Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
    back = np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BILINEAR)).astype(int)
    return np.clip(back + 9 + np.random.default_rng(1).integers(-3, 4, back.shape), 0, 255).astype(np.uint8)


def split(images: NDArray[np.uint8], name: str, labels: list[int] | None = None) -> Split:
    numbers = np.asarray(labels or [0] * len(images), dtype=np.int64)
    return Split(images, numbers, ("cat", "dog"), names=tuple(f"{name}/{i}.png" for i in range(len(images))))


def test_equal_pixels_have_equal_digests_and_changed_ones_nearly_equal_looks() -> None:
    images = photos(40)
    copies = np.stack([changed(image) for image in images])
    ours, theirs = fingerprints(images), fingerprints(copies)
    assert len(np.unique(ours.digests)) == 40
    assert (ours.digests == fingerprints(images.copy()).digests).all()
    assert not (ours.digests == theirs.digests).any()
    pairs = near(ours, theirs)
    assert pairs is not None
    assert len(pairs) >= 38
    assert (pairs[:, 0] == pairs[:, 1]).all()


def test_different_photos_noise_and_plain_areas_are_not_near() -> None:
    def pairs(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> int:
        found = near(fingerprints(left), fingerprints(right))
        assert found is not None
        return len(found)

    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (2, 200, 40, 40, 1), dtype=np.uint8)
    plain = np.full((5, 32, 32, 1), 7, dtype=np.uint8)
    assert pairs(photos(300), photos(300, seed=9)) <= 1
    assert pairs(noise[0], noise[1]) == 0
    assert pairs(plain, plain + np.uint8(1)) == 0


def test_so_many_that_it_would_take_minutes_are_not_compared() -> None:
    looks = np.broadcast_to(np.uint64(0), 100_000)
    many = Fingerprints(np.broadcast_to(np.void(b"\0" * 16), 100_000), looks, np.broadcast_to(np.False_, 100_000))
    assert near(many, many) is None


def test_fingerprints_of_a_split_do_not_depend_on_how_it_is_read() -> None:
    images = photos(30)

    class Streamed:
        shape = images.shape

        def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            return images[indices]

    known = of_split(split(images, "train"))
    streamed = of_split(Split(Streamed(), np.zeros(30, np.int64), ("cat",)))
    assert (known.digests == streamed.digests).all()
    assert (known.looks == streamed.looks).all()


def test_clean_data_need_no_remark() -> None:
    assert list(remarks({"train": split(photos(9), "train"), "validation": split(photos(9, seed=5), "val")})) == []


def test_pictures_in_both_splits_under_two_labels_and_nearly_equal_ones_are_counted_and_named() -> None:
    train, validation = photos(8), photos(5, seed=5)
    validation[1], validation[2] = train[3], changed(train[4])
    train[7] = train[0]
    found = list(remarks({"train": split(train, "train", [0] * 7 + [1]), "validation": split(validation, "val")}))
    assert [remark.is_certain for remark in found] == [True, False, True]
    assert [remark.sentence for remark in found] == [
        "1 of 5 validation pictures are in train as well (train/3.png and val/1.png), "
        "so the validation figures are too good: remove the duplicates",
        "1 of 5 validation pictures look nearly like one in train (train/4.png and val/2.png); "
        "see whether they are copies",
        "1 picture lies under two labels (train/0.png and train/7.png); at most one of the two is right",
    ]


def test_nearly_equal_pictures_under_two_labels_are_counted_and_named_within_and_between_splits() -> None:
    train, validation = photos(8), photos(4, seed=5)
    train[6], validation[3] = changed(train[2]), changed(train[5])
    splits: dict[SplitName, Split] = {
        "train": split(train, "train", [0, 0, 0, 0, 1, 1, 1, 1]),
        "validation": split(validation, "val", [0, 1, 0, 0]),
    }
    sentences = [remark.sentence for remark in remarks(splits) if "another label" in remark.sentence]
    assert sentences == [
        "2 pictures look nearly like one of another label (train/2.png and train/6.png; train/5.png and val/3.png); "
        "see which is right"
    ]

"""The survey of a folder of pictures as one HTML page that needs nothing else, and as JSON."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from distill.contract import write_whole
from distill.data_page.survey import THUMBNAIL_PX, PictureFolder, Place, Seen, Survey, contact_sheet
from distill.data_page.suspects import Doubts
from distill.errors import UsageError
from distill.page_style import style_sheet
from distill.vision.pictures import Trait

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent
OWN_STYLE = TEMPLATES / "page.css"
SHOWN = 100
IMBALANCE = 5
"""The largest class has so many times the pictures of the smallest: worth a word."""

NEARLY_BLACK = 8
"""Mean level below which a picture shows next to nothing."""

TRAITS = {
    Trait.TURNED: "turned upright by their EXIF tag",
    Trait.ON_WHITE: "transparent in places, laid on white",
    Trait.DEEP: "more than 8 bits per value, scaled",
    Trait.RECOLOURED: "brought to sRGB from another colour profile",
    Trait.FIRST_FRAME: "several frames or pages, the first is used",
    Trait.REDUCED: "more than 16 million pixels, read at a fraction",
    Trait.CROPPED: "cropped to the 2-D region of the ultrasound picture",
    Trait.MASKED: "something outside the sector made black",
}


@dataclass(frozen=True)
class Finding:
    """Something to know before training: `bad` makes figures or runs wrong, `warn` may, `good` is well."""

    grade: Literal["bad", "warn", "good"]
    sentence: str


def findings(survey: Survey) -> list[Finding]:
    """The worst first."""
    entries: list[Finding] = []
    if survey.problem:
        entries.append(Finding("bad", survey.problem))
    if survey.unreadable:
        entries.append(Finding("bad", f"{_pictures(len(survey.unreadable))} cannot be decoded; they are listed below."))
    entries += [Finding("bad" if each.is_certain else "warn", each.sentence + ".") for each in survey.repeats]
    entries += [Finding("warn", sentence + ".") for sentence in survey.remarks]
    entries += _of_pictures(survey)
    if not entries:
        entries.append(Finding("good", "Nothing odd: every picture can be decoded, and none lies in two places."))
    return sorted(entries, key=lambda each: ("bad", "warn", "good").index(each.grade))


def _of_pictures(survey: Survey) -> list[Finding]:
    entries: list[Finding] = []
    sizes = Counter(picture.label for picture in survey.pictures if picture.split == "train")
    if sizes and max(sizes.values()) > IMBALANCE * min(sizes.values()):
        (most, large), (least, small) = sizes.most_common()[0], sizes.most_common()[-1]
        entries.append(
            Finding(
                "warn",
                f"Classes are uneven: {large} training pictures of {survey.class_names[most]}, {small} of "
                f"{survey.class_names[least]}. Judge by macro F1, not by accuracy.",
            )
        )
    dark = [picture for picture in survey.pictures if picture.level < NEARLY_BLACK]
    if dark:
        show = "shows" if len(dark) == 1 else "show"
        names = _few([picture.name for picture in dark])
        entries.append(Finding("warn", f"{_pictures(len(dark))} {show} next to nothing, nearly black: {names}."))
    if survey.pictures and all(picture.is_grey for picture in survey.pictures):
        entries.append(Finding("good", "Every picture is grey: --set dataset.channels=1 reads a third of the values."))
    return entries


def summary(survey: Survey, doubts: Doubts | None = None) -> dict[str, Any]:
    """For programs: counts, sizes, formats, findings."""
    return {
        "path": str(survey.root),
        "classes": list(survey.class_names),
        "counts": {
            split: {name: survey.count(split, label) for label, name in enumerate(survey.class_names)}
            for split in survey.splits
        },
        "patients": dict(survey.patients),
        "sizes_px": _sizes(survey.pictures),
        "formats": dict(Counter(picture.format for picture in survey.pictures).most_common()),
        "treated": {words: count for words, count in _traits(survey) if count},
        "unreadable": [{"file": str(each.file), "reason": each.reason} for each in survey.unreadable],
        "suspects": [
            {"file": str(each.file), "label": each.label, "rather": each.rather, "confidence": each.confidence}
            for each in (doubts.suspects if doubts else ())
        ],
        "findings": [{"grade": each.grade, "sentence": each.sentence} for each in findings(survey)],
    }


def write_page(survey: Survey, path: Path, doubts: Doubts | None = None) -> None:
    """Write the page; raises UsageError where jinja2 is missing and WorkFailed where the file cannot be written."""
    write_whole(path, render(survey, doubts).encode("utf-8", "replace"))


def render(survey: Survey, doubts: Doubts | None = None) -> str:
    """The page as text; errors as `write_page`, but for writing.

    Args:
        survey: what is shown.
        doubts: labels that a network doubts, if one was asked.
    """
    templates = environment(TEMPLATES)
    rows = [
        {"name": name, "counts": [survey.count(split, label) for split in survey.splits]}
        for label, name in enumerate(survey.class_names)
    ]
    return templates.get_template("page.html.j2").render(
        survey=survey,
        findings=findings(survey),
        rows=rows,
        most=max((sum(row["counts"]) for row in rows), default=1) or 1,
        totals=[sum(row["counts"][number] for row in rows) for number in range(len(survey.splits))],
        sizes=_sizes(survey.pictures),
        formats=Counter(picture.format for picture in survey.pictures).most_common(),
        traits=[(words, count) for words, count in _traits(survey) if count],
        grey=sum(picture.is_grey for picture in survey.pictures),
        bytes=sum(picture.size_bytes for picture in survey.pictures),
        sheet=[
            (name, [(each, thumbnail(survey.config, each.file)) for each in chosen])
            for name, chosen in contact_sheet(survey)
        ],
        unreadable=survey.unreadable[:SHOWN],
        doubts=doubts,
        suspects=[(each, thumbnail(survey.config, each.file)) for each in doubts.suspects[:SHOWN]] if doubts else [],
        css=style_sheet(OWN_STYLE),
    )


def environment(templates: Path) -> "Environment":
    """Of the pages whose templates are in a folder; what they show is never taken for markup.

    Raises:
        UsageError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the page needs {error.name}, which is not installed: pip install 'pocket-distill[train]'"
        ) from error
    return Environment(loader=FileSystemLoader(templates), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def thumbnail(config: PictureFolder, file: Place) -> str:
    """A picture of a data set as `data_uri` gives it."""
    image = config.decode(file, 3, at_least_px=THUMBNAIL_PX).image  # pyright: ignore[reportArgumentType]
    return data_uri(image)


def data_uri(image: Image.Image) -> str:
    """A picture as a data URI, its longer side THUMBNAIL_PX at most; the image itself may shrink."""
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=70, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _sizes(pictures: Sequence[Seen]) -> dict[str, str]:
    by_area = sorted(
        (picture.width_px * picture.height_px, picture.width_px, picture.height_px) for picture in pictures
    )
    if not by_area:
        return {}
    places = {"smallest": 0, "median": len(by_area) // 2, "largest": -1}
    return {name: f"{by_area[place][1]} x {by_area[place][2]}" for name, place in places.items()}


def _traits(survey: Survey) -> list[tuple[str, int]]:
    return [(words, sum(trait in picture.traits for picture in survey.pictures)) for trait, words in TRAITS.items()]


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

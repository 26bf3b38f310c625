"""Pictures of the app's screens, drawn from its own layout, string, size and colour files:
`python android_demo/mock_screens.py FOLDER` writes FOLDER/app-*.png.

A small reading of Android's layout rules (linear and frame layouts, weights, padding, gravity) with another font; it
shows what is on a screen, where, how large and in which colours, not how a phone draws it. A reference to a resource
that does not exist is an error. Names and figures in the pictures are placeholders; where every pixel has an answer,
what is true of a picture of the embedded data stands in for one, and its areas and metres are so.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from distill.vision.datasets import EchoPhantomMasks, IndoorPhantom  # noqa: E402  the toolkit is found from its checkout
from distill.vision.painting import (  # noqa: E402
    DEPTH_TWENTIETHS,
    MASK_TWENTIETHS,
    PALETTES,
    over,
    paint_depths,
    scale_end_m,
)
from distill.vision.preprocess import Preprocess  # noqa: E402
from distill.vision.tasks import IGNORED  # noqa: E402

RESOURCES = ROOT / "android_demo/src/main/res"
PREVIEW = ROOT / "results/echo-phantom.png"
PREVIEW_TILE = (228, 709, 340, 821)
ANDROID = "{http://schemas.android.com/apk/res/android}"
FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
PX_PER_DP = 2
CAPTION = "drawn from the layout files; figures are placeholders"
LONG_DP, SHORT_DP = 740, 360

Element = ElementTree.Element
Contents = Mapping[str, object]
"""By view id (inside an include: `include_id.view_id`): a text, a share for a bar, a picture, a colour as #rrggbb, rows
for a list; True to show what is there but gone, False to hide, `INVISIBLE` to leave the place empty."""

INVISIBLE = "invisible"


@dataclass(frozen=True)
class Theme:
    """Resources of one orientation and brightness."""

    land: bool
    night: bool
    strings: Mapping[str, str] = field(default_factory=lambda: values("strings", "string"))
    sizes: Mapping[str, str] = field(default_factory=lambda: values("dimens", "dimen"))

    @property
    def colours(self) -> Mapping[str, str]:
        """Night colours replace those of the day."""
        return values("colors", "color") | (values("colors", "color", "-night") if self.night else {})

    def layout(self, name: str) -> Element:
        """The layout for this orientation."""
        paths = [RESOURCES / folder / f"{name}.xml" for folder in (["layout-land"] if self.land else []) + ["layout"]]
        return ElementTree.parse(next(path for path in paths if path.is_file())).getroot()

    def text(self, value: str, *arguments: object) -> str:
        """A string, or the one a reference names, with Java's format applied."""
        text = self.strings[value.removeprefix("@string/")] if value.startswith("@string/") else value
        text = text.replace("\\n", "\n").replace("\\u00A0", "\u00a0")
        return re.sub(r"%(\d)\$", "%", text) % arguments if arguments else text

    def colour(self, value: str) -> str:
        """A colour as #RRGGBB; of a drawable, the colour it is filled with."""
        if value.startswith("@drawable/"):
            shape = ElementTree.parse(RESOURCES / f"drawable/{value.removeprefix('@drawable/')}.xml").getroot()
            value = required(shape.find("solid")).get(f"{ANDROID}color", "")
        return self.colours[value.removeprefix("@color/")]

    def pixels(self, value: str) -> int:
        """A size in dp or sp, or a reference to one."""
        text = self.sizes[value.removeprefix("@dimen/")] if value.startswith("@dimen/") else value
        return int(text.removesuffix("dp").removesuffix("sp")) * PX_PER_DP


def values(file: str, tag: str, night: str = "") -> dict[str, str]:
    """Names and values of one resource file."""
    root = ElementTree.parse(RESOURCES / f"values{night}/{file}.xml").getroot()
    return {element.get("name", ""): element.text or "" for element in root.iter(tag)}


def is_size(value: str) -> bool:
    """Whether a width or height is a size; 0dp leaves it to the weight."""
    return value[:1] in tuple("@0123456789") and value != "0dp"


def required(element: Element | None) -> Element:
    """The element; it must be there."""
    assert element is not None
    return element


@dataclass
class View:
    """One view: its element (an include replaced by what it names, its own attributes first) and its children."""

    tag: str
    attributes: dict[str, str]
    children: list["View"]
    content: object

    def get(self, name: str, otherwise: str = "") -> str:
        """An attribute of the android namespace."""
        return self.attributes.get(ANDROID + name, otherwise)


def inflate(element: Element, theme: Theme, contents: Contents, prefix: str = "") -> View:
    """The tree of views of a layout."""
    attributes = dict(element.attrib)
    own_id = attributes.get(f"{ANDROID}id", "").removeprefix("@+id/")
    if element.tag == "include":
        named = theme.layout(element.attrib["layout"].removeprefix("@layout/"))
        view = inflate(named, theme, contents, f"{own_id}." if own_id else prefix)
        view.attributes |= attributes
        return _seen(view, contents.get(prefix + own_id)) if own_id else view
    content = contents.get(prefix + own_id) if own_id else None
    if element.tag == "ListView" and isinstance(content, Sequence):
        children = [inflate(theme.layout("model_row"), theme, row) for row in content]
    else:
        children = [inflate(child, theme, contents, prefix) for child in element]
    return _seen(View(element.tag, attributes, children, content), content)


def _seen(view: View, content: object) -> View:
    """The view, nothing, or its empty place."""
    if content is False or (content is None and view.get("visibility") == "gone"):
        return View("Hidden", {}, [], None)
    return View("Space", view.attributes, [], None) if content == INVISIBLE else view


class Screen:
    """Measures and draws views."""

    def __init__(self, theme: Theme) -> None:
        self.theme = theme
        short, long = SHORT_DP * PX_PER_DP, LONG_DP * PX_PER_DP
        size = (long, short) if theme.land else (short, long)
        self.image = Image.new("RGB", size, theme.colour("@color/background"))
        self.pen = ImageDraw.Draw(self.image)

    def show(self, layout: str, contents: Contents) -> Image.Image:
        """Draw a layout over the whole screen."""
        view = inflate(self.theme.layout(layout), self.theme, contents)
        self.draw(view, 0, 0, *self.image.size)
        font = ImageFont.truetype(str(FONT), 8 * PX_PER_DP)
        place = (self.image.width - font.getlength(CAPTION) - 8, self.image.height - 22)
        self.pen.text(place, CAPTION, self.theme.colour("@color/ink_soft"), font)
        return self.image

    def padding(self, view: View) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        sides = ("Start", "Top", "End", "Bottom")
        paddings = (view.get(f"padding{side}") or view.get("padding") for side in sides)
        left, top, right, bottom = (self.theme.pixels(value) if value else 0 for value in paddings)
        return left, top, right, bottom

    def margin(self, view: View, side: str) -> int:
        """Of one side, in pixels."""
        value = view.get(f"layout_margin{side}") or view.get("layout_margin")
        return self.theme.pixels(value) if value else 0

    def font(self, view: View) -> ImageFont.FreeTypeFont:
        """In the view's text size."""
        return ImageFont.truetype(str(FONT), self.theme.pixels(view.get("textSize", "14sp")))

    def lines(self, view: View, width: int) -> list[str]:
        """The text, broken at blanks."""
        font, lines = self.font(view), []
        text = str(view.content) if view.content is not None else self.theme.text(view.get("text"))
        for paragraph in text.split("\n"):
            line = ""
            for word in paragraph.split(" "):
                longer = f"{line} {word}".strip()
                if line and font.getlength(longer) > width:
                    lines.append(line)
                    longer = word
                line = longer
            lines.append(line)
        return lines if text else []

    def wanted(self, view: View, width: int) -> tuple[int, int]:
        """Width and height a view wants if it may be this wide, margins apart."""
        if view.tag == "Hidden":
            return 0, 0
        left, top, right, bottom = self.padding(view)
        inner = width - left - right
        if view.tag in ("TextView", "Button", "Spinner"):
            lines, font = self.lines(view, inner), self.font(view)
            wide = max((math.ceil(font.getlength(line)) for line in lines), default=0)
            size = wide, len(lines) * int(font.size * 1.35)
        elif view.tag == "LinearLayout" and view.get("orientation") == "horizontal":
            widths = self.row_widths(view, inner)
            heights = [self.wanted(child, wide)[1] for child, wide in zip(view.children, widths, strict=True)]
            size = sum(widths), max(heights)
        else:
            sizes = [self.outer(child, inner) for child in view.children]
            size = max((w for w, _ in sizes), default=0), sum(h for _, h in sizes)
        least = self.theme.pixels(view.get("minHeight", "0dp"))
        fixed = [view.get("layout_width"), view.get("layout_height")]
        natural = size[0] + left + right, max(size[1] + top + bottom, least)
        chosen = [self.theme.pixels(f) if is_size(f) else n for f, n in zip(fixed, natural, strict=True)]
        return (width if fixed[0] == "match_parent" else min(width, chosen[0])), chosen[1]

    def row_widths(self, view: View, width: int) -> list[int]:
        """Of the children of a row; what is left goes to those with a weight."""
        weights = [float(child.get("layout_weight", "0")) for child in view.children]
        starts = sum(self.margin(child, "Start") for child in view.children)
        fixed = [
            0 if weight else self.wanted(child, width)[0] for child, weight in zip(view.children, weights, strict=True)
        ]
        left = width - sum(fixed) - starts
        return [
            int(left * weight / sum(weights)) if weight else wide for wide, weight in zip(fixed, weights, strict=True)
        ]

    def outer(self, view: View, width: int) -> tuple[int, int]:
        """As `wanted`, with margins."""
        wide, high = self.wanted(view, width - self.margin(view, "Start") - self.margin(view, "End"))
        return wide, high + self.margin(view, "Top") + self.margin(view, "Bottom")

    def draw(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """Draw a view into its place."""
        if view.tag in ("Hidden", "Space"):
            return
        if view.tag == "View":
            self.draw_swatch(view, x, y, width, height)
            return
        if view.get("background"):
            radius = 24 if view.get("background").startswith("@drawable") else 0
            box = (x, y, x + width - 1, y + height - 1)
            self.pen.rounded_rectangle(box, radius, self.theme.colour(view.get("background")))
        left, top, right, bottom = self.padding(view)
        inside = (x + left, y + top, width - left - right, height - top - bottom)
        if view.tag in ("TextView", "Button", "Spinner"):
            self.draw_text(view, *inside)
        elif view.tag == "ProgressBar":
            self.draw_bar(view, *inside)
        elif view.tag == "ImageView":
            self.draw_picture(view, *inside)
        elif view.tag == "TextureView":
            self.draw_preview(*inside)
        elif view.tag == "FrameLayout":
            self.draw_frame(view, *inside)
        elif view.tag == "LinearLayout" and view.get("orientation") == "horizontal":
            self.draw_row(view, *inside)
        else:
            self.draw_column(view, *inside)

    def draw_column(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """Children below each other; what is left goes to those with a weight."""
        heights = [self.outer(child, width)[1] for child in view.children]
        weighted = [float(child.get("layout_weight", "0")) for child in view.children]
        fixed = sum(high for high, weight in zip(heights, weighted, strict=True) if not weight)
        if view.get("gravity") == "bottom" and not any(weighted):
            y += max(0, height - fixed)
        for child, high, weight in zip(view.children, heights, weighted, strict=True):
            if weight:
                high = int((height - fixed) * weight / sum(weighted))
            start, above = self.margin(child, "Start"), self.margin(child, "Top")
            room = width - start - self.margin(child, "End")
            filled = height if view.tag == "ScrollView" else high
            self.draw(child, x + start, y + above, room, filled - above - self.margin(child, "Bottom"))
            y += high

    def draw_row(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """Children beside each other."""
        for child, wide in zip(view.children, self.row_widths(view, width), strict=True):
            x += self.margin(child, "Start")
            high = self.wanted(child, wide)[1]
            fills = child.get("layout_height") == "match_parent"
            above = (height - high) // 2 if view.get("gravity") == "center_vertical" else 0
            self.draw(child, x, y + above, wide, height if fills else high)
            x += wide

    def draw_frame(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """Children on top of each other."""
        for child in view.children:
            wide, high = self.wanted(child, width)
            if child.get("layout_height") == "match_parent":
                self.draw(child, x, y, width, height)
            else:
                end = "end" in child.get("layout_gravity")
                left = x + width - wide - self.margin(child, "End") if end else x + self.margin(child, "Start")
                self.draw(child, left, y + self.margin(child, "Top"), wide, high)

    def draw_text(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """Text of a text view, a button or a picker."""
        font, lines = self.font(view), self.lines(view, width)
        step = int(font.size * 1.35)
        centred = view.tag == "Button" or view.get("gravity") == "center"
        if view.tag == "Button":
            inset = 4 * PX_PER_DP
            box = (x + inset, y + inset, x + width - inset, y + height - inset)
            self.pen.rounded_rectangle(box, 8, self.theme.colour("@color/bar_track"))
        if centred or view.tag == "Spinner":
            y += (height - step * len(lines)) // 2
        colour = self.theme.colour(view.get("textColor", "@color/ink"))
        for line in lines:
            left = x + (width - int(font.getlength(line))) // 2 if centred else x
            left = x + width - int(font.getlength(line)) if view.get("gravity") == "end" else left
            self.pen.text((left, y), line, colour, font)
            y += step
        if view.tag == "Spinner":
            right, middle = x + width - 20, y - step // 2
            self.pen.polygon([(right - 8, middle - 4), (right + 8, middle - 4), (right, middle + 6)], colour)

    def draw_bar(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """A bar filled to its share."""
        share = view.content if isinstance(view.content, float) else 0.0
        radius = height // 2
        track, filled = (self.theme.colour(view.get(name)) for name in ("progressBackgroundTint", "progressTint"))
        self.pen.rounded_rectangle((x, y, x + width, y + height), radius, track)
        self.pen.rounded_rectangle((x, y, x + max(height, int(width * share)), y + height), radius, filled)

    def draw_swatch(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """A shape filled with a colour, with the line and the corners of its drawable."""
        drawable = view.get("background").removeprefix("@drawable/")
        shape = ElementTree.parse(RESOURCES / f"drawable/{drawable}.xml").getroot()
        corners, stroke = required(shape.find("corners")), required(shape.find("stroke"))
        box = (x, y, x + width - 1, y + height - 1)
        line = self.theme.colour(stroke.get(f"{ANDROID}color", ""))
        radius = self.theme.pixels(corners.get(f"{ANDROID}radius", ""))
        thick = self.theme.pixels(stroke.get(f"{ANDROID}width", ""))
        self.pen.rounded_rectangle(box, radius, str(view.content), line, thick)

    def draw_picture(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """A picture over the whole view, or as large as it fits in, in the middle."""
        assert isinstance(view.content, Image.Image)
        picture = view.content
        factor = min(width / picture.width, height / picture.height)
        size = round(factor * picture.width), round(factor * picture.height)
        size = (width, height) if view.get("scaleType") == "fitXY" else size
        place = (x + (width - size[0]) // 2, y + (height - size[1]) // 2)
        self.image.paste(picture.resize(size, Image.Resampling.BILINEAR), place)

    def draw_preview(self, x: int, y: int, width: int, height: int) -> None:
        """One tile of the embedded data set, scaled to fill the view as the camera's picture is."""
        sheet = Image.open(PREVIEW).convert("RGB")
        tile = sheet.crop(PREVIEW_TILE).resize((max(width, height),) * 2)
        left, top = (tile.width - width) // 2, (tile.height - height) // 2
        self.image.paste(tile.crop((left, top, left + width, top + height)), (x, y))


def costs(theme: Theme, model: str) -> dict[str, object]:
    """What every first screen has: placeholders."""
    return {
        "thermal": "cool",
        "message": False,
        "latency": theme.text("@string/latency", "4.2", "4.9", 4),
        "path": theme.text("@string/path", "16.8", "7.1", "4.9", "0.5", "4.2", "0.1"),
        "picker": f"{model} · executorch int8",
    }


def classify(theme: Theme) -> Contents:
    """Placeholder content of the first screen."""
    contents = costs(theme, "mobilenet_v3_small")
    for rank, (name, share) in enumerate((("a4c", 0.912), ("a5c", 0.061), ("a2c", 0.014)), start=1):
        percent = theme.text("@string/class_percent", 100 * share)
        contents |= {f"top{rank}.class_name": name, f"top{rank}.class_share": percent, f"top{rank}.class_bar": share}
    return contents


NO_CLASSES = {f"top{rank}": False for rank in (1, 2, 3)}
SHOWN_AREAS = 8


def segment(theme: Theme) -> Contents:
    """The first screen with a mask: the chambers of a heart, and the area of each."""
    size_px = 112
    data = EchoPhantomMasks(train_patients=1, validation_patients=1, images_per_patient=10)
    split = data.load("validation", Preprocess(size_px=size_px, channels=1, mean=(0.5,), std=(0.5,)))
    image, mask = np.asarray(split.images)[6], np.asarray(split.truth)[6]
    mask = np.where(mask == IGNORED, 0, mask)
    names, colours = split.class_names, PALETTES["segmentation"](len(split.class_names))
    painted = over(np.repeat(image, 3, axis=2), colours[mask], MASK_TWENTIETHS)
    contents = costs(theme, "unet_resnet18") | NO_CLASSES
    contents |= {"picture": Image.fromarray(painted), "legend": True, "area_others": False}
    contents |= {f"area{number}": INVISIBLE for number in range(len(names) + 1, SHOWN_AREAS + 1)}
    for label, name in enumerate(names):
        area = f"area{label + 1}"
        text = theme.text("@string/area", name, 100 * float(np.mean(mask == label)))
        colour = "#{:02x}{:02x}{:02x}".format(*colours[label].tolist())
        contents |= {f"{area}.area_text": text, f"{area}.area_colour": colour}
    return contents


def see_depth(theme: Theme) -> Contents:
    """The first screen with the depth of a room."""
    data = IndoorPhantom(train_rooms=1, validation_rooms=4, images_per_room=2)
    split = data.load("validation", Preprocess(size_px=96, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3))
    metres: NDArray[np.float32] = np.asarray(split.truth)[7]
    end_m, colours = scale_end_m(metres), PALETTES["depth"](1)
    painted = over(np.asarray(split.images)[7], paint_depths(metres, end_m, colours), DEPTH_TWENTIETHS)
    labels = {"scale_start": 0.0, "scale_middle": end_m / 2, "scale_end": end_m}
    found = (f"{float(value):.2f}" for value in (metres.min(), metres.max()))
    return (
        costs(theme, "unet_resnet18")
        | NO_CLASSES
        | {"picture": Image.fromarray(painted), "scale": True, "scale_bar": Image.fromarray(colours[None])}
        | {name: theme.text("@string/scale_metres", f"{value:g}") for name, value in labels.items()}
        | {"scale_found": theme.text("@string/scale_found", *found)}
    )


def in_words(theme: Theme, measure: str, quality: float) -> str:
    """How good a model is, as the app words it."""
    unit = "metres" if measure == "rmse" else "percent"
    return theme.text(f"@string/quality_{measure}", theme.text(f"@string/quality_{unit}", quality))


def model_row(theme: Theme, title: str, size_mb: float, quality: str, here_ms: float | None, best: bool) -> Contents:
    """Placeholder content of one row of the second screen."""
    places = [(theme.text("@string/this_phone", 4), here_ms), (theme.text("@string/other_device", "Phone A", 1), 6.5)]
    measured = [theme.text("@string/measured_on", place, ms) for place, ms in places if ms is not None]
    return {
        "model_title": title,
        "model_facts": theme.text("@string/model_facts", size_mb, 1.53, quality),
        "model_measured": "\n".join(measured),
        "model_best": None if best else False,
    }


def models(theme: Theme) -> Contents:
    """Placeholder content of the second screen."""
    small, larger = (in_words(theme, "accuracy", percent) for percent in (80.2, 80.7))
    return listed(
        theme,
        model_row(theme, "mobilenet_v3_small · executorch int8", 1.73, small, 4.21, True),
        model_row(theme, "mobilenet_v3_small · executorch fp32", 6.21, larger, 6.90, True),
        model_row(theme, "mobilenet_v3_small · onnx int8", 1.80, small, 5.02, False),
        model_row(theme, "mobilenet_v3_small · litert fp32", 6.20, larger, None, False),
    )


def models_of_pixels(theme: Theme) -> Contents:
    """Placeholder content of the second screen with students of two tasks."""
    title = "unet_resnet18 · executorch"
    return listed(
        theme,
        model_row(theme, f"{title} int8", 1.21, in_words(theme, "miou", 71.3), 4.21, True),
        model_row(theme, f"{title} fp32", 4.32, in_words(theme, "miou", 71.9), 6.90, True),
        model_row(theme, f"{title} int8", 1.21, in_words(theme, "rmse", 0.412), 4.20, True),
        model_row(theme, f"{title} fp32", 4.32, in_words(theme, "rmse", 0.415), 6.91, False),
    )


def listed(theme: Theme, *rows: Contents) -> Contents:
    """The second screen with these models."""
    place = theme.text("@string/this_phone", 4)
    note = f"{theme.text('@string/tap_to_measure')}\n{theme.text('@string/compared_on', place)}"
    return {"models_note": note, "model_list": list(rows)}


DAY, NIGHT, LAND_NIGHT = Theme(land=False, night=False), Theme(land=False, night=True), Theme(land=True, night=True)

SCREENS: Mapping[str, tuple[str, Callable[[Theme], Contents], Theme]] = {
    "classify-portrait": ("classify", classify, DAY),
    "classify-landscape-dark": ("classify", classify, LAND_NIGHT),
    "segment-portrait": ("classify", segment, DAY),
    "segment-landscape-dark": ("classify", segment, LAND_NIGHT),
    "depth-portrait-dark": ("classify", see_depth, NIGHT),
    "models-portrait": ("models", models, DAY),
    "models-portrait-dark": ("models", models, NIGHT),
    "models-of-pixels-portrait": ("models", models_of_pixels, DAY),
    "bench-portrait-dark": ("bench", lambda _: {}, NIGHT),
}
"""Name -> layout, what is on it, and how it is seen."""


def draw(name: str) -> Image.Image:
    """One screen."""
    layout, contents, theme = SCREENS[name]
    return Screen(theme).show(layout, contents(theme))


def main(folder: Path) -> None:
    """Draw every screen."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCREENS:
        path = folder / f"app-{name}.png"
        draw(name).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

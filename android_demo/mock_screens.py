"""Pictures of the app's screens, drawn from its own layout, string, size and colour files:
`python android_demo/mock_screens.py FOLDER` writes FOLDER/app-*.png.

A small reading of Android's layout rules (linear and frame layouts, weights, padding, gravity) with another font; it
shows what is on a screen, where, how large and in which colours, not how a phone draws it. A reference to a resource
that does not exist is an error. Names and figures in the pictures are placeholders.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from PIL import Image, ImageDraw, ImageFont

RESOURCES = Path(__file__).resolve().parent / "src/main/res"
PREVIEW = Path(__file__).resolve().parent.parent / "results/echo-phantom.png"
PREVIEW_TILE = (228, 709, 340, 821)
ANDROID = "{http://schemas.android.com/apk/res/android}"
FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
PX_PER_DP = 2
CAPTION = "drawn from the layout files; figures are placeholders"
LONG_DP, SHORT_DP = 740, 360

Element = ElementTree.Element
Contents = Mapping[str, object]
"""By view id (inside an include: `include_id.view_id`): a text, a share for a bar, False to hide, rows for a list."""


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
        text = text.replace("\\n", "\n")
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
        return view
    content = contents.get(prefix + own_id) if own_id else None
    if element.tag == "ListView" and isinstance(content, Sequence):
        children = [inflate(theme.layout("model_row"), theme, row) for row in content]
    else:
        children = [inflate(child, theme, contents, prefix) for child in element]
    view = View(element.tag, attributes, children, content)
    hidden = view.get("visibility") == "gone" or content is False
    return View("Hidden", {}, [], None) if hidden else view


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
            sizes = [self.wanted(child, inner) for child in view.children]
            size = sum(w for w, _ in sizes), max(h for _, h in sizes)
        else:
            sizes = [self.outer(child, inner) for child in view.children]
            size = max((w for w, _ in sizes), default=0), sum(h for _, h in sizes)
        least = self.theme.pixels(view.get("minHeight", "0dp"))
        fixed = [view.get("layout_width"), view.get("layout_height")]
        natural = size[0] + left + right, max(size[1] + top + bottom, least)
        chosen = [self.theme.pixels(f) if is_size(f) else n for f, n in zip(fixed, natural, strict=True)]
        return (width if fixed[0] == "match_parent" else min(width, chosen[0])), chosen[1]

    def outer(self, view: View, width: int) -> tuple[int, int]:
        """As `wanted`, with margins."""
        wide, high = self.wanted(view, width - self.margin(view, "Start") - self.margin(view, "End"))
        return wide, high + self.margin(view, "Top") + self.margin(view, "Bottom")

    def draw(self, view: View, x: int, y: int, width: int, height: int) -> None:
        """Draw a view into its place."""
        if view.tag == "Hidden":
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
        """Children beside each other; what is left goes to those with a weight."""
        weighted = [float(child.get("layout_weight", "0")) for child in view.children]
        sizes = [self.wanted(child, width) for child in view.children]
        starts = [self.margin(child, "Start") if child.tag != "Hidden" else 0 for child in view.children]
        widths = [wide for (wide, _), weight in zip(sizes, weighted, strict=True) if not weight]
        fixed = sum(widths) + sum(starts)
        for child, (wide, high), weight, start in zip(view.children, sizes, weighted, starts, strict=True):
            if weight:
                wide = int((width - fixed) * weight / sum(weighted))
            fills = child.get("layout_height") == "match_parent"
            self.draw(child, x + start, y, wide, height if fills else high)
            x += start + wide

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

    def draw_preview(self, x: int, y: int, width: int, height: int) -> None:
        """One tile of the embedded data set, scaled to fill the view as the camera's picture is."""
        sheet = Image.open(PREVIEW).convert("RGB")
        tile = sheet.crop(PREVIEW_TILE).resize((max(width, height),) * 2)
        left, top = (tile.width - width) // 2, (tile.height - height) // 2
        self.image.paste(tile.crop((left, top, left + width, top + height)), (x, y))


def classify(theme: Theme) -> Contents:
    """Placeholder content of the first screen."""
    contents: dict[str, object] = {
        "thermal": "cool",
        "message": False,
        "latency": theme.text("@string/latency", "4.2", "4.9", 4),
        "path": theme.text("@string/path", "16.8", "7.1", "4.9", "0.5", "4.2", "0.1"),
        "picker": "mobilenet_v3_small · executorch int8",
    }
    for rank, (name, share) in enumerate((("a4c", 0.912), ("a5c", 0.061), ("a2c", 0.014)), start=1):
        percent = theme.text("@string/class_percent", 100 * share)
        contents |= {f"top{rank}.class_name": name, f"top{rank}.class_share": percent, f"top{rank}.class_bar": share}
    return contents


def model_row(theme: Theme, title: str, size_mb: float, accuracy: float, here_ms: float | None, best: bool) -> Contents:
    """Placeholder content of one row of the second screen."""
    places = [(theme.text("@string/this_phone", 4), here_ms), (theme.text("@string/other_device", "Phone A", 1), 6.5)]
    measured = [theme.text("@string/measured_on", place, ms) for place, ms in places if ms is not None]
    percent = theme.text("@string/accuracy_percent", accuracy)
    return {
        "model_title": title,
        "model_facts": theme.text("@string/model_facts", size_mb, 1.53, percent),
        "model_measured": "\n".join(measured),
        "model_best": None if best else False,
    }


def models(theme: Theme) -> Contents:
    """Placeholder content of the second screen."""
    place = theme.text("@string/this_phone", 4)
    rows = [
        model_row(theme, "mobilenet_v3_small · executorch int8", 1.73, 80.2, 4.21, True),
        model_row(theme, "mobilenet_v3_small · executorch fp32", 6.21, 80.7, 6.90, True),
        model_row(theme, "mobilenet_v3_small · onnx int8", 1.80, 80.2, 5.02, False),
        model_row(theme, "mobilenet_v3_small · litert fp32", 6.20, 80.7, None, False),
    ]
    note = f"{theme.text('@string/tap_to_measure')}\n{theme.text('@string/compared_on', place)}"
    return {"models_note": note, "model_list": rows}


def main(folder: Path) -> None:
    """Draw every screen."""
    folder.mkdir(parents=True, exist_ok=True)
    screens = [
        ("classify-portrait", "classify", classify, Theme(land=False, night=False)),
        ("classify-landscape-dark", "classify", classify, Theme(land=True, night=True)),
        ("models-portrait", "models", models, Theme(land=False, night=False)),
        ("models-portrait-dark", "models", models, Theme(land=False, night=True)),
        ("bench-portrait-dark", "bench", lambda _: {}, Theme(land=False, night=True)),
    ]
    for name, layout, contents, theme in screens:
        path = folder / f"app-{name}.png"
        Screen(theme).show(layout, contents(theme)).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

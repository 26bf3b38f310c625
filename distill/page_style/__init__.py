"""What all HTML pages of this project look like: colours by day and night, type, cards, tiles, badges.

Every page is one file with its styles in it. A page's own sheet says what it has besides, or otherwise.
"""

from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parent / "house.css"


def style_sheet(*own: Path) -> Any:
    """The house's style and, after it, a page's own, as markup for its `<style>`; needs markupsafe."""
    from markupsafe import Markup

    return Markup("\n".join(file.read_text("utf-8") for file in (HOUSE, *own)))


def breakable(text: str) -> Any:
    """A long name as markup that may break after an underscore."""
    from markupsafe import Markup

    return Markup("_<wbr>").join(text.split("_"))

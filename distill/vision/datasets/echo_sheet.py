"""A contact sheet of the echo-phantom: every view of some patients, each at another moment of the heart beat.

python -m distill.vision.datasets.echo_sheet results/echo-phantom.png
"""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from distill.contract import write_whole
from distill.errors import ToolError
from distill.vision.datasets.echo_phantom import CLASS_NAMES, SIZE_PX, EchoPhantom, generate

LABEL_PX = 112
HEADER_PX = 24
GAP_PX = 2


def contact_sheet(*, patients: int = 7, seed: int = 0) -> Image.Image:
    """One row per view with its name, one column per patient; greyscale, native size."""
    config = EchoPhantom(train_patients=patients, validation_patients=1, images_per_patient=len(CLASS_NAMES), seed=seed)
    images, labels, groups = generate(config, "train"), config.labels("train"), config.groups("train")
    pitch = SIZE_PX + GAP_PX
    sheet = Image.new("L", (LABEL_PX + patients * pitch, HEADER_PX + len(CLASS_NAMES) * pitch))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for patient in range(patients):
        draw.text((LABEL_PX + patient * pitch + 30, 6), f"patient {patient}", fill=150, font=font)
    for row, name in enumerate(CLASS_NAMES):
        draw.text((8, HEADER_PX + row * pitch + pitch // 2 - 8), name, fill=230, font=font)
    for image, label, group in zip(images, labels, groups, strict=True):
        sheet.paste(picture(image), (LABEL_PX + int(group) * pitch, HEADER_PX + int(label) * pitch))
    return sheet


def picture(image: NDArray[np.uint8]) -> Image.Image:
    """One generated image, uint8 [H, W, 1], as a picture."""
    return Image.fromarray(image[:, :, 0])


def main(arguments: list[str]) -> int:
    """Write the sheet to the given PNG file and print its path."""
    if len(arguments) != 1:
        print("usage: python -m distill.vision.datasets.echo_sheet FILE.png", file=sys.stderr)
        return 2
    buffer = BytesIO()
    contact_sheet().save(buffer, format="PNG", optimize=True)
    try:
        write_whole(Path(arguments[0]), buffer.getvalue())
    except ToolError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The most sensitive layers as bars, for print and for the screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.contract import whole_file
from export.doctor.record import LayerSensitivity
from export.doctor.words import LAYERS_SHOWN

WIDTH_IN = 7.0
BAR_IN = 0.26
BLUE, GREY = "#0072B2", "#767676"
NOTE: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": GREY}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "pocket-distill",
}


def draw(layers: Sequence[LayerSensitivity], model: str, folder: Path) -> tuple[Path, ...]:
    """Write `sensitivity.png` and `sensitivity.svg`: the layers that lose most, the worst on top."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = layers[:LAYERS_SHOWN]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 1.0 + BAR_IN * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        positions = range(len(shown))
        axes.barh(positions, [layer.sqnr_db for layer in shown], height=0.7, color=BLUE)
        axes.set_yticks(positions, [layer.layer for layer in shown])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        for position, layer in zip(positions, shown, strict=True):
            note = f"{layer.sqnr_db:.1f} dB, {layer.top1_agreement:.1%}"
            axes.annotate(note, (max(layer.sqnr_db, 0.0), position), xytext=(4, 0), **NOTE)
        axes.set_xlim(min(0.0, *(layer.sqnr_db for layer in shown)), 1.25 * max(1.0, *(x.sqnr_db for x in shown)))
        axes.set_xlabel("signal to quantization noise of the logits (dB; short is bad), and answers kept")
        axes.set_title(f"{model}: the {len(shown)} most sensitive of {len(layers)} layers, each alone in int8")
        return tuple(_save(figure, folder / f"sensitivity.{kind}", kind) for kind in ("png", "svg"))


def _save(figure: Any, path: Path, kind: str) -> Path:
    metadata = {"Date": None} if kind == "svg" else {}
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=200, metadata=metadata)
    return path

"""python -m android_demo {ship, preflight}."""

import typer

from android_demo.preflight.command import preflight
from android_demo.ship.command import ship
from distill.terminal import run

app = typer.Typer(help="From teacher, data, phone and budget to the app.", no_args_is_help=True, add_completion=False)
app.command()(ship)
app.command()(preflight)


@app.callback()
def _commands() -> None:
    """From teacher, data, phone and budget to the app, and what a store would refuse of it."""


if __name__ == "__main__":
    run(app)

"""python -m android_demo {ship, preflight, weigh}."""

import typer

from android_demo.preflight.command import preflight
from android_demo.preflight.weigh import weigh_command
from android_demo.ship.command import ship
from distill.terminal import run

app = typer.Typer(help="From teacher, data, phone and budget to the app.", no_args_is_help=True, add_completion=False)
app.command()(ship)
app.command()(preflight)
app.command("weigh")(weigh_command)


@app.callback()
def _commands() -> None:
    """From teacher, data, phone and budget to the app, what a store would refuse of it, and what it carries."""


if __name__ == "__main__":
    run(app)

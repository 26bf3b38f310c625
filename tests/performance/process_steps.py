"""What a search for a distillation process costs, and what following one costs, against ReviewKD's step.

ResNet-20 learns from ResNet-56 at 32 px along the paper's 27 pathways; the teacher is asked in all.
"""

import torch

from distill.methods import AnyMethod
from distill.methods.distpro import DistProConfig
from distill.methods.distpro_search import DistProSearchConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.review_kd import ReviewKDConfig
from distill.process.pathways import Grid
from distill.process.settings import SearchedProcess
from tests.performance.feature_steps import DATA, PICTURES, loop
from tests.performance.method_steps import in_rounds
from tests.performance.side_by_side import Comparison

ROUNDS = 7
LEFT_OUT = 0.6
"""Share of the pathways that the paper's processes leave out, on average."""

THINNED = f"distpro, {100 * LEFT_OUT:.0f} % of the pathways left out"


def comparisons(rounds: int = ROUNDS) -> list[Comparison]:
    """ReviewKD's step against hinton_kd's, DistPro's against ReviewKD's."""
    torch.set_num_threads(2)
    split = DATA.load("train", PICTURES)
    methods: dict[str, AnyMethod] = {
        "hinton_kd": HintonKDConfig(temperature=4.0, alpha=0.9),
        "review_kd": ReviewKDConfig(),
        "distpro_search": DistProSearchConfig(),
        "distpro, all pathways": DistProConfig(mode="equally_weighted"),
        THINNED: DistProConfig(process=thinned(Grid())),
    }
    seconds = in_rounds({name: loop(split, config) for name, config in methods.items()}, rounds=rounds)

    def against(base: str, name: str, goal: str) -> Comparison:
        title = f"{name} step, against {base}, teacher asked in both"
        return Comparison(title, goal, tuple(seconds[base]), tuple(seconds[name]))

    return [
        against("hinton_kd", "review_kd", "≥ 0.625"),
        against("review_kd", "distpro_search", "≥ 0.286"),
        against("review_kd", "distpro, all pathways", "≥ 0.625"),
        against("review_kd", THINNED, "≥ 0.91"),
    ]


def thinned(grid: Grid) -> SearchedProcess:
    """A process that leaves out pathways evenly."""
    ways = grid.pathways(3, 3)
    kept = [int(number * (1 - LEFT_OUT)) < int((number + 1) * (1 - LEFT_OUT)) for number in range(len(ways))]
    row = tuple(1.0 if keep else 0.0 for keep in kept)
    return SearchedProcess(sha256="", searched="nothing", pathways=ways, raw=(row,))

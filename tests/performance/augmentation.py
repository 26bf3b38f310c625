"""What random views cost: a supervised step of MobileNetV3-Small on them against one on the plain pictures."""

import torch

from distill.config import Augment, ColourJitter, Erasing, RandAugment, RandomResizedCrop, TrivialAugment
from distill.methods.scratch import ScratchConfig
from tests.performance.side_by_side import Comparison, compare
from tests.performance.training import DATA, SMALL, nobody, our_loop

ROUNDS = 15
GOAL = "≥ 0.87"
"""base / new: the step takes 15 % longer."""

VIEWS = {
    "padded crops and mirror images": Augment(crop_padding_px=4, horizontal_flip=True),
    "crops of every size": Augment(resized_crop=RandomResizedCrop()),
    "RandAugment(2, 9)": Augment(policy=RandAugment()),
    "TrivialAugment": Augment(policy=TrivialAugment()),
    "colour": Augment(colour=ColourJitter()),
    "erasing": Augment(erasing=Erasing()),
    "mixup and CutMix": Augment(mixup=0.2, cutmix=1.0),
    "crops of every size, RandAugment(2, 9), erasing, mixup and CutMix": Augment(
        resized_crop=RandomResizedCrop(), policy=RandAugment(), erasing=Erasing(), mixup=0.2, cutmix=1.0
    ),
}


def comparisons() -> list[Comparison]:
    """Every kind of view alone, and those of today's recipes together."""
    torch.set_num_threads(2)
    split = DATA.load("train", SMALL)
    plain = our_loop(split, nobody, ScratchConfig())
    return [
        compare(name, GOAL, plain, our_loop(split, nobody, ScratchConfig(), augment=augment), rounds=ROUNDS)
        for name, augment in VIEWS.items()
    ]

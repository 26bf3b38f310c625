"""Which parts of a network learn, and how fast: two speeds, a rate for every layer, parts that stand still.

A network that begins with weights from elsewhere has little to learn in its first layers, and loses what it knows if
they learn as fast as a classifier that begins with nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from distill.config import TrainingSettings
from distill.errors import UsageError
from distill.system import did_you_mean

BACKBONE = "backbone"
"""Names everything but the classifier."""


@dataclass(frozen=True)
class FineTuning:
    """What of the students learns how fast.

    Attributes:
        factors: of the learning rate, by parameter; 0 for what stands still. Those not named have 1.
        still: layers whose batch statistics are used and not changed.
    """

    factors: Mapping[nn.Parameter, float] = field(default_factory=dict)
    still: tuple[nn.Module, ...] = ()

    def learns(self, parameter: nn.Parameter) -> bool:
        """False for what stands still."""
        return self.factors.get(parameter, 1.0) > 0

    def groups(self, parameters: Sequence[nn.Parameter]) -> list[dict[str, object]]:
        """Parameters by rate, for an optimizer; one group without settings."""
        rates = dict.fromkeys(self.factors.get(parameter, 1.0) for parameter in parameters)
        return [
            {"params": [each for each in parameters if self.factors.get(each, 1.0) == rate], "lr_factor": rate}
            for rate in rates
        ]

    def hold_still(self) -> None:
        """Put the layers that stand still into eval mode; to be called after `train()`."""
        for layer in self.still:
            layer.eval()


ALL_ALIKE = FineTuning()
"""Everything learns at the full rate."""


def fine_tuning(settings: TrainingSettings, networks: Sequence[nn.Module]) -> FineTuning:
    """What the settings mean for these networks.

    Raises:
        UsageError: a network has no such module, or nothing would learn.
    """
    factors: dict[nn.Parameter, float] = {}
    still: list[nn.Module] = []
    for network in networks:
        blocks = list(_blocks(network))
        (_, classifier) = blocks[-1]
        frozen = [module for place in settings.frozen for module in _modules(network, classifier, place)]
        held = {parameter for module in frozen for parameter in module.parameters()}
        inside = {layer for module in frozen for layer in module.modules()}
        if BACKBONE in settings.frozen:
            held |= set(network.parameters()) - set(classifier.parameters())
        of_blocks = [list(block.parameters()) for _, block in blocks]
        inside_blocks = {parameter for block in of_blocks for parameter in block}
        # What belongs to no block, such as the position embedding of a transformer, stands before the first.
        of_blocks[0] += [parameter for parameter in network.parameters() if parameter not in inside_blocks]
        for depth, block in enumerate(reversed(of_blocks)):
            rate = (settings.backbone_lr_factor if depth else 1.0) * settings.layer_lr_decay**depth
            factors |= {each: 0.0 if each in held else rate for each in block}
        norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
        still += [layer for layer in norms if settings.freeze_batch_norm or layer in inside]
        if all(factors.get(parameter, 1.0) == 0 for parameter in network.parameters()):
            raise UsageError(f"training.frozen={', '.join(settings.frozen)} leaves nothing to learn.")
    return FineTuning({each: factor for each, factor in factors.items() if factor != 1.0}, tuple(still))


def _modules(network: nn.Module, classifier: nn.Module, place: str) -> list[nn.Module]:
    if place == BACKBONE:
        return [block for _, block in _blocks(network) if block is not classifier]
    known = dict(network.named_modules())
    if place not in known or not place:
        raise UsageError(
            f"training.frozen: the network has no module {place!r}{did_you_mean(place, known)} At its top are "
            f"{', '.join(name for name, _ in network.named_children())}; backbone is all but the classifier."
        )
    return [known[place]]


def _blocks(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules with parameters from the first to the last, containers opened; the last one is the classifier."""
    for name, child in network.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            yield f"{prefix}{name}", child

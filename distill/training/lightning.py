"""Lightning's two libraries, Fabric and TorchMetrics, without what TorchMetrics imports for tasks that are not ours.

Fabric imports TorchMetrics to learn its version, which imports transformers, scipy.signal and matplotlib if it finds
them, for metrics of text and sound and for plots: more than a quarter of what a run takes to start. While the two are
imported, these are not to be found.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_utilities.core.imports import RequirementCache

OTHER_TASKS = ("matplotlib", "scipy", "transformers")


@contextmanager
def _without(packages: tuple[str, ...]) -> Iterator[None]:
    """Let Lightning's libraries find none of these packages, but for those that are imported already."""
    absent = tuple(name for name in packages if name not in sys.modules)
    is_met = RequirementCache.__bool__

    def is_met_and_ours(self: RequirementCache) -> bool:
        return not (self.requirement or "").startswith(absent) and is_met(self)

    sys.modules.update(dict.fromkeys(absent))  # pyright: ignore[reportCallIssue, reportArgumentType]
    RequirementCache.__bool__ = is_met_and_ours
    try:
        yield
    finally:
        RequirementCache.__bool__ = is_met
        for name in absent:
            del sys.modules[name]


with _without(OTHER_TASKS):
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
    from torchmetrics.functional import classification

__all__ = ["DDPStrategy", "Fabric", "classification"]

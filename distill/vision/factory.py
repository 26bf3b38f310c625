"""Networks that the user wrote: `python:package.module:factory` names a function that makes one.

Importing this module imports neither torch nor the user's code.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from distill.errors import UsageError

if TYPE_CHECKING:  # names are looked at by commands that should answer before torch is loaded
    from torch import nn

PREFIX = "python:"
FOLDED = "folded:"
"""Before any name: the network without the branches that only training needs (`distill.vision.models.folding`)."""


def find_factory(name: str) -> "Callable[[int], nn.Module]":
    """The builder of a network: number of classes -> network.

    The factory is called with `num_classes=…` if it has such a parameter, else without arguments. The network takes
    normalised images [B, 3, H, W] and returns logits [B, classes].

    Args:
        name: `package.module:factory`; importable from the working directory or PYTHONPATH.

    Raises:
        UsageError: it cannot be imported, or is no function that can be called this way. The builder raises it where
            the factory fails or returns something else than a module.
    """
    factory = _imported(name)
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} cannot be used as a factory: {error}.") from error
    takes_classes = "num_classes" in parameters
    unfilled = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name != "num_classes"
    ]
    if unfilled:
        raise UsageError(
            f"{name} needs {', '.join(unfilled)}; a factory is called with num_classes or with nothing. "
            "Wrap it in a function that fills in the rest."
        )

    def build(num_classes: int) -> "nn.Module":
        from torch import nn

        try:
            network = factory(num_classes=num_classes) if takes_classes else factory()
        except Exception as error:
            raise UsageError(f"{name} failed: {type(error).__name__}: {error}") from error
        if not isinstance(network, nn.Module):
            raise UsageError(f"{name} returned {type(network).__name__}, expected a torch.nn.Module.")
        return network

    return build


def _imported(name: str) -> Callable[..., object]:
    module_name, separator, attribute = name.partition(":")
    if not separator or not module_name or not attribute:
        raise UsageError(f"{name!r} is no factory; expected package.module:factory, e.g. my_models.small:make.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(
            f"cannot import {module_name} of {name}: {type(error).__name__}: {error}. "
            "Run the command from the folder that holds it, or name that folder in PYTHONPATH."
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(f"{module_name} has no function {attribute!r}.")
    return factory

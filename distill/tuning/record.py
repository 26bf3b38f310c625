"""`search.json`: what a search is, so that every process that shares it, now or later, searches the same."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from distill.config import RunConfig, Steps, with_overrides
from distill.contract import Contract, Strict
from distill.tuning.varied import Value, Varied
from distill.vision.datasets.held_back import HeldBack

NAME_LENGTH = 80


class SearchData(Strict):
    """The training images, and how they are divided.

    Attributes:
        train_sha256: of those that trials learn from, as the student sees them.
        validation_sha256: of those held back, on which they are judged.
    """

    train_sha256: str
    validation_sha256: str
    num_train: int
    num_validation: int


class Search(Contract):
    """What is searched, and on what.

    Attributes:
        config: the run that the best settings are for.
        varied: what is tried; a trial sets all of them.
        epochs: of a trial; None = as many as the run has.
        held_back: share of the training images that trials are judged on.
        seed: of what is tried; the trials' own is `config.seed`.
        version: of this package.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    config: RunConfig
    varied: tuple[Varied, ...]
    epochs: Annotated[int, Field(ge=1)] | None
    held_back: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]
    data: SearchData
    version: str

    def trial(self, number: int, values: Mapping[str, Value]) -> RunConfig:
        """The run of a trial, on training images alone; its steps of the learning rate come as early as it is short."""
        return on_training_images(self._with(values), self.held_back, self.epochs).model_copy(
            update={"name": f"trial-{number}"}
        )

    def best(self, values: Mapping[str, Value]) -> RunConfig:
        """The run with the settings that were found: on all training images, as long as it was meant."""
        name = f"{self.config.name[: NAME_LENGTH - len('-tuned')]}-tuned"
        return self._with(values).model_copy(update={"name": name})

    def _with(self, values: Mapping[str, Value]) -> RunConfig:
        return with_overrides(self.config, [varied.assignment(values[varied.path]) for varied in self.varied])


def on_training_images(config: RunConfig, held_back: float, epochs: int | None) -> RunConfig:
    """A run that learns from training images and is judged on the share of them that is held back."""
    training = config.training
    if epochs is not None:
        schedule = training.schedule
        if isinstance(schedule, Steps):
            steps = tuple(round(epoch * epochs / training.epochs) for epoch in schedule.epochs)
            schedule = schedule.model_copy(update={"epochs": steps})
        training = training.model_copy(update={"epochs": epochs, "schedule": schedule})
    dataset = HeldBack(of=config.dataset, share=held_back)
    return config.model_copy(update={"dataset": dataset, "training": training})

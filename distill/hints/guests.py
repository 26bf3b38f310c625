"""Which network is searched: a checkpoint of ours, or the teacher of a run."""

from pathlib import Path

from distill import checkpoint
from distill.config import LogitsTeacher, ProgramTeacher, RunConfig, TrainTeacher
from distill.errors import UsageError
from distill.hints.search import Searched
from distill.teachers import teacher as teachers
from distill.teachers.teacher import Teacher
from distill.vision.datasets import Split


def of_checkpoint(path: Path, data: Path | None = None) -> Searched:
    """The network of a run or checkpoint folder, with the images it was trained on.

    Args:
        path: the folder.
        data: where its data lie now, if they were moved.

    Raises:
        UsageError: no checkpoint, or other data than its card says.
    """
    loaded = checkpoint.load(path, data)
    card = loaded.card
    if card.training is None:
        raise UsageError(
            f"{path} was brought without data, so there are no images to compare its blocks over. Name a recipe with "
            "data and bring it as the teacher: --set teacher.kind=checkpoint --set teacher.path=…"
        )
    train = loaded.split("train")
    return Searched(
        model=loaded.model,
        preprocess=card.preprocess,
        sha256=card.weights_sha256,
        source=str(path),
        dataset=card.training.data.at(data),
        train=train,
    )


def of_config(config: RunConfig) -> Searched:
    """The teacher of a run, with the run's training images.

    Raises:
        UsageError: it has none, one that is not trained yet, or one without an inside; or what `teacher.load` refuses.
    """
    source = config.teacher
    if source is None:
        raise UsageError(
            f"{config.name} has no teacher to search. Bring one, e.g. --set teacher.kind=checkpoint "
            "--set teacher.path=RUN, or name a run folder."
        )
    if isinstance(source, TrainTeacher):
        raise UsageError(
            f"{config.name} trains its teacher itself. Train it first (python -m distill run {config.name}), then name "
            f"its folder: python -m distill hints out/runs/{config.teacher_run().name}"
        )
    if isinstance(source, LogitsTeacher | ProgramTeacher):
        raise UsageError(
            f"a teacher of kind {source.kind} does not show its blocks. Bring it as a checkpoint or as a library "
            "network with its weights."
        )
    pictures = config.dataset.load("train", config.preprocess)
    teacher = teachers.load(
        source, channels=config.dataset.channels, class_names=pictures.class_names, pictures=pictures
    )
    return of_teacher(config, teacher, pictures)


def of_teacher(config: RunConfig, teacher: Teacher, pictures: Split) -> Searched:
    """A teacher that shows its blocks, with the training images as it sees them.

    Args:
        config: of the run.
        teacher: a network.
        pictures: the training split as the student sees it.
    """
    assert teacher.model is not None
    assert teacher.preprocess is not None
    same = teacher.preprocess == config.preprocess
    train = pictures if same else config.dataset.load("train", teacher.preprocess)
    return Searched(teacher.model, teacher.preprocess, teacher.sha256, teacher.source, config.dataset, train)

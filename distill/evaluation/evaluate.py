"""Quality of a classifier on a whole split: accuracy, macro F1, calibration error, entropy; and class by class."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.checkpoint import AnyMetrics, Judgement, Metrics, Mistake
from distill.errors import Diverged
from distill.evaluation import dense
from distill.training.batches import Batches
from distill.training.lightning import classification
from distill.vision.datasets import SplitName

CALIBRATION_BINS = 15
MOST_CONFUSIONS = 1000
MOST_MISTAKES = 24


@torch.inference_mode()
def predict(model: nn.Module, batches: Batches) -> Tensor:
    """Logits float32 [N, classes] of every image in the split's order, on the batches' device.

    The model is put into eval mode for it and gets its own mode back afterwards.
    """
    was_training = model.training
    model.eval()
    try:
        return torch.cat([model(batch.images).float() for batch in batches.in_order()])
    finally:
        model.train(was_training)


def evaluate(model: nn.Module, batches: Batches, *, epoch: int) -> AnyMetrics:
    """All metrics of a model on every image of the batches; errors as `metrics`."""
    if batches.split.truth is not None:
        return dense.judge(model, batches, epoch=epoch).metrics
    return metrics(predict(model, batches), batches.labels, epoch=epoch)


def metrics(logits: Tensor, labels: Tensor, *, epoch: int, split: SplitName = "validation") -> Metrics:
    """All metrics of logits [N, classes] against labels int64 [N], over the whole split at once.

    Calibration error uses 15 equal bins of the top probability. It is not a mean of batch errors, which would depend on
    the batch size.

    Raises:
        Diverged: logits, or the loss computed from them, are not finite.
    """
    classes = logits.shape[1]
    loss = F.cross_entropy(logits, labels)
    broken = int((~torch.isfinite(logits)).any(dim=1).sum())
    if broken or not torch.isfinite(loss):
        fault = f"NaN or infinity for {broken} of {len(logits)} images" if broken else "numbers too large for a loss"
        raise Diverged(f"after epoch {epoch} the network answers the {split} images with {fault}.")
    probabilities = logits.softmax(dim=1)
    entropy = torch.special.entr(probabilities).sum(dim=1).mean()
    return Metrics(
        epoch=epoch,
        accuracy=classification.multiclass_accuracy(logits, labels, num_classes=classes, average="micro").item(),
        macro_f1=classification.multiclass_f1_score(logits, labels, num_classes=classes, average="macro").item(),
        ece=classification.multiclass_calibration_error(
            probabilities, labels, num_classes=classes, n_bins=CALIBRATION_BINS
        ).item(),
        entropy_nats=entropy.item(),
        loss=loss.item(),
    )


def confusion_matrix(logits: Tensor, labels: Tensor) -> Tensor:
    """How many images of each class (row) are taken for each class (column): int64 [classes, classes] on the CPU.

    Args:
        logits: [N, classes].
        labels: int64 [N].
    """
    return classification.multiclass_confusion_matrix(logits, labels, num_classes=logits.shape[1]).cpu()


def judge_network(
    model: nn.Module, batches: Batches, *, epoch: int, split: SplitName = "validation"
) -> tuple[Judgement, Tensor | None]:
    """Metrics and confusions of a model on every image of the batches, and its logits if they are a row per image.

    Raises:
        Diverged: answers, or the loss computed from them, are not finite.
    """
    if batches.split.truth is not None:
        return dense.judge(model, batches, epoch=epoch, split=split), None
    answers = predict(model, batches)
    return judge(answers, batches.labels, epoch=epoch, split=split, names=batches.split.names), answers


def judge(
    logits: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    split: SplitName = "validation",
    names: Sequence[str] | None = None,
) -> Judgement:
    """Metrics, confusions and worst mistakes of logits [N, classes] against labels int64 [N]; errors as `metrics`.

    `names` are those of the images, if they have any.
    """
    matrix = confusion_matrix(logits, labels)
    right = matrix.diagonal()
    wrong = matrix - torch.diag(right)
    confusions = [(own, other, int(wrong[own, other])) for own, other in wrong.nonzero().tolist()]
    return Judgement(
        metrics=metrics(logits, labels, epoch=epoch, split=split),
        images=tuple(matrix.sum(dim=1).tolist()),
        right=tuple(right.tolist()),
        confusions=tuple(sorted(confusions, key=lambda each: -each[2])[:MOST_CONFUSIONS]),
        mistakes=tuple(worst_mistakes(logits, labels, names)),
    )


def worst_mistakes(logits: Tensor, labels: Tensor, names: Sequence[str] | None) -> Iterator[Mistake]:
    """The wrong answers among logits [N, classes] to labels int64 [N] that are surest, the surest first."""
    confidences, predicted = logits.softmax(dim=1).max(dim=1)
    wrong = torch.nonzero(predicted != labels)[:, 0]
    order = wrong[confidences[wrong].argsort(descending=True, stable=True)][:MOST_MISTAKES]
    for image in map(int, order.tolist()):
        yield Mistake(
            image=image,
            name=names[image] if names else "",
            label=int(labels[image]),
            taken_for=int(predicted[image]),
            confidence=float(confidences[image]),
        )

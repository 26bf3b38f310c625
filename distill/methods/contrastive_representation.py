"""contrastive_representation: tell the teacher's view of an image from its views of other images (Tian et al. 2020).

"Contrastive representation distillation", arXiv:1910.10699 (CRD).
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from distill.contract import Strict
from distill.errors import UsageError
from distill.methods.maps import POOLED, unit_length
from distill.methods.method import Family, Method, Needs, Outputs, Samples, Setting
from distill.methods.precision import at_least_float32, full_precision
from distill.taps import TapPairs
from distill.training.reduction import gathered, mean_over_processes

EPSILON = 1e-7


class ContrastiveRepresentationConfig(Strict):
    """Labels, and for each image its own embedding of the other network among those of many images of other classes.

    Attributes:
        taps: features that are embedded; one place of each network.
        weight: beta; the paper's.
        dimensions: of the embeddings.
        negatives: images of other classes for each image; drawn with replacement if there are fewer.
        temperature: of the products of embeddings.
        momentum: share of an image's old embedding that its bank keeps.
    """

    family: ClassVar[Family] = "relations"

    kind: Literal["contrastive_representation"] = "contrastive_representation"
    taps: TapPairs = POOLED
    weight: Annotated[float, Field(ge=0)] = 0.8
    dimensions: Annotated[int, Field(ge=1)] = 128
    negatives: Annotated[int, Field(ge=1)] = 16384
    temperature: Annotated[float, Field(ge=0.02)] = 0.07
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5

    @property
    def needs(self) -> Needs:
        """The teacher's taps."""
        return Needs(teacher="taps", taps=(self.taps,))

    def build(self, setting: Setting) -> Method:
        """The module that computes it; raises UsageError where there are no images of other classes."""
        return ContrastiveRepresentation(self, setting)


class ContrastiveRepresentation(Method):
    """Cross-entropy with the labels plus the weighted losses of both sides.

    Two banks keep an embedding of every training image by each network. They, the constants Z and the count of steps,
    from which negatives are drawn, are saved with the run. Processes that share a batch keep the same banks.

    Deviations: scores are taken of the whole bank and picked from it, which moves less memory than to gather every
    negative's embedding; an embedding of length 0 stays 0.
    """

    bank_of_student: Tensor
    bank_of_teacher: Tensor
    z: Tensor
    steps: Tensor
    salt: Tensor

    def __init__(self, config: ContrastiveRepresentationConfig, setting: Setting) -> None:
        super().__init__(config)
        pairs = setting.pairs(config.taps)
        if len(pairs) != 1:
            raise UsageError(
                f"contrastive_representation keeps one embedding of each image; method.taps names {len(pairs)} places "
                "of each network. Name one."
            )
        self.ours, self.theirs = pairs[0]
        images, size = len(setting.labels), config.dimensions
        self.negatives = Negatives(setting.labels, config.negatives)
        self.embed_student = nn.Linear(setting.student[self.ours].numel(), size)
        self.embed_teacher = nn.Linear(setting.teacher[self.theirs].numel(), size)
        width = (3 / size) ** 0.5
        self.register_buffer("bank_of_student", torch.empty(images, size).uniform_(-width, width))
        self.register_buffer("bank_of_teacher", torch.empty(images, size).uniform_(-width, width))
        self.register_buffer("z", torch.full((2,), -1.0))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("salt", torch.randint(2**62, ()))

    def forward(self, students: tuple[Outputs, ...], teacher: Outputs | None, samples: Samples) -> dict[str, Tensor]:
        """`of_student` and `of_teacher` (weighted: whose embeddings seek the other's bank) and `label`, all >= 0."""
        assert teacher is not None
        (student,) = students
        ours, theirs = (
            unit_length(at_least_float32(layer(at_least_float32(values).flatten(1))))
            for layer, values in (
                (self.embed_student, student.taps[self.ours]),
                (self.embed_teacher, teacher.taps[self.theirs]),
            )
        )
        with torch.no_grad():
            rows = self.negatives.draw(samples.indices, self.salt + self.steps)
            rows = torch.cat([samples.indices[:, None], rows], dim=1)
        of_student = self._loss(0, scores(ours, self.bank_of_teacher, rows, temperature=self.config.temperature))
        of_teacher = self._loss(1, scores(theirs, self.bank_of_student, rows, temperature=self.config.temperature))
        if self.training:
            with torch.no_grad():
                indices = gathered(samples.indices)
                _renew(self.bank_of_student, indices, gathered(ours), momentum=self.config.momentum)
                _renew(self.bank_of_teacher, indices, gathered(theirs), momentum=self.config.momentum)
                self.steps += 1
        return {
            "of_student": self.config.weight * of_student,
            "of_teacher": self.config.weight * of_teacher,
            "label": samples.label_loss(student.logits),
        }

    def _loss(self, side: int, scores: Tensor) -> Tensor:
        """Of one side's scores; the first batch sets Z, which is constant from then on."""
        images = len(self.bank_of_student)
        with torch.no_grad():
            first = mean_over_processes(scores.mean()) * images
            z = torch.where(self.z[side] < 0, first, self.z[side])
            if self.training:
                self.z[side] = z
        return contrastive_loss(scores / z, images=images)


def scores(embeddings: Tensor, bank: Tensor, rows: Tensor, *, temperature: float) -> Tensor:
    """exp(v . M[row] / temperature), [B, 1 + K].

    Args:
        embeddings: v [B, d], of length 1.
        bank: M [N, d]; a copy is used, so it may be renewed afterwards.
        rows: int64 [B, 1 + K].
        temperature: > 0.
    """
    with full_precision(embeddings):
        return ((embeddings @ bank.clone().T).gather(1, rows) / temperature).exp()


def contrastive_loss(probabilities: Tensor, *, images: int) -> Tensor:
    """-(log(P_0 / (P_0 + c)) + sum over the negatives of log(c / (P_k + c))), c = K / images, mean over the batch.

    Args:
        probabilities: P [B, 1 + K], an image's own first, then its K negatives.
        images: in a bank.

    Returns:
        Scalar >= 0 in nats.
    """
    share = (probabilities.shape[1] - 1) / images
    own, others = probabilities[:, :1], probabilities[:, 1:]
    total = (own / (own + share + EPSILON)).log().sum() + (share / (others + share + EPSILON)).log().sum()
    return -total / len(probabilities)


class Negatives(nn.Module):
    """Draws images of other classes on the device, the same ones for an image and a step in whatever process.

    Where there are enough, a row holds no image twice: the images of other classes, in the order of their classes, are
    a circle, of which as many arcs of one length are cut as images are drawn; one is drawn of each, and the circle is
    turned by a random angle. So every image is as likely as every other, and classes come in proportion. All rows of
    a step share where in their arcs they draw, each has an angle of its own: one random number per negative and one per
    image instead of one for each of both. Deviation: the authors draw independently.
    """

    turns: Tensor
    first: Tensor
    sizes: Tensor
    labels: Tensor

    def __init__(self, labels: Tensor, count: int) -> None:
        super().__init__()
        sizes = torch.bincount(labels)
        if len(labels) == int(sizes.max()):
            raise UsageError("contrastive_representation needs images of two classes or more; there is one class.")
        self.count = count
        by_class = torch.argsort(labels, stable=True)
        self.register_buffer("turns", by_class.repeat(3), persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("labels", labels.clone(), persistent=False)

    def draw(self, indices: Tensor, moment: Tensor) -> Tensor:
        """Int64 [B, count] of other classes than images [B] have; a moment is a number that is new in every step."""
        classes = self.labels[indices]
        own, first = self.sizes[classes][:, None], self.first[classes][:, None]
        pool = len(self.labels) - own
        arc = pool // self.count  # 0 where there are too few: then every draw is of the whole circle
        columns = torch.arange(self.count, device=indices.device)
        seed = scrambled(moment)
        inside = _draws(seed + columns * GOLDEN, torch.where(arc > 0, arc, pool))
        angle = _draws(scrambled(seed + indices)[:, None], pool)
        position = inside.add_(columns * arc).add_(angle)
        # Of the circle's first turn, which begins after the image's own class, or of the next, its class passed again.
        position += torch.where(position >= pool, own, 0)
        return self.turns[position.add_(first + own)]


GOLDEN = -0x61C8864680B583EB
"""2^64 divided by the golden ratio, as a signed number."""


def scrambled(numbers: Tensor) -> Tensor:
    """Int64 -> int64 in which every bit depends on every bit: the finaliser of SplitMix64 (Steele et al. 2014)."""
    numbers = (numbers ^ ((numbers >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    numbers = (numbers ^ ((numbers >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return numbers ^ ((numbers >> 31) & 0x1FFFFFFFF)


def _draws(seeds: Tensor, below: Tensor) -> Tensor:
    """Int64 in [0, below), below < 2^31, from the high bits of a product: half of the finaliser is enough for it."""
    bits = ((seeds ^ (seeds >> 32)) * -0x40A7B892E31B1A47).bitwise_right_shift_(33).bitwise_and_(0x7FFFFFFF)
    return (bits * below).bitwise_right_shift_(31)


def _renew(bank: Tensor, indices: Tensor, embeddings: Tensor, *, momentum: float) -> None:
    mixed = momentum * bank[indices] + (1 - momentum) * embeddings
    bank.index_copy_(0, indices, unit_length(mixed).to(bank.dtype))

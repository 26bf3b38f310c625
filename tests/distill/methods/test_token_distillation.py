from typing import Any

import numpy as np
import pytest
import torch

from distill.errors import UsageError
from distill.methods import Outputs
from distill.methods.token_distillation import TokenDistillationConfig
from distill.vision.models import build
from distill.vision.preprocess import Preprocess
from tests.distill.methods.toy import dry, network, samples, teacher_for

LABELS = torch.arange(6) % 5


@pytest.mark.parametrize("hard", [True, False])
def test_equals_the_slow_numpy_twin(logits: Any, softmax: Any, divergence: Any, hard: bool) -> None:
    config = TokenDistillationConfig(
        class_head="head", distillation_head="stages.2.0", hard=hard, alpha=0.3, temperature=2.0
    )
    method = dry(TokenDistillationConfig(class_head="head", distillation_head="head"), [network(5)], *toy()).method
    method.config = config
    method.distillation_place = "other"  # type: ignore[assignment]
    of_class, of_token, teacher = (logits(6, 5, seed=seed) for seed in range(3))
    said = Outputs((of_class + of_token) / 2, {"head": of_class, "other": of_token})
    found = method((said,), Outputs(teacher), samples(LABELS))
    label = token = 0.0
    for number, label_of in enumerate(LABELS.tolist()):
        label -= np.log(softmax(of_class[number].numpy())[label_of]) / 6
        theirs = teacher[number].numpy()
        if hard:
            token -= np.log(softmax(of_token[number].numpy())[theirs.argmax()]) / 6
        else:
            token += 4 * divergence(softmax(theirs, 2.0), softmax(of_token[number].numpy(), 2.0)) / 6
    assert found["label"].item() == pytest.approx(0.7 * label, abs=1e-10)
    assert found["teacher"].item() == pytest.approx(0.3 * token, abs=1e-10)


def toy() -> tuple[Any, torch.Tensor]:
    return teacher_for("", 5), LABELS


def test_both_tokens_of_a_transformer_learn_and_it_answers_with_their_mean() -> None:
    preprocess = Preprocess(size_px=32, channels=1, mean=(0.5,), std=(0.5,))
    torch.manual_seed(0)
    student = build("timm:deit_tiny_distilled_patch16_224", num_classes=5, preprocess=preprocess).train()
    network_: Any = student.network
    network_.blocks = network_.blocks[:1]
    method = TokenDistillationConfig()
    assert method.needs.taps[0].student == ("head", "head_dist")
    heard: dict[str, torch.Tensor] = {}
    for place in ("head", "head_dist"):
        network_.get_submodule(place).register_forward_hook(
            lambda _module, _inputs, output, place=place: heard.update({place: output})
        )
    answer = student(torch.rand(2, 1, 32, 32))
    assert torch.allclose(answer, (heard["head"] + heard["head_dist"]) / 2)


@pytest.mark.parametrize(("head", "message"), [("head_dist", "no module 'head_dist'"), ("stages.2", "not \\(5,\\)")])
def test_a_network_without_two_classifiers_is_refused(head: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dry(TokenDistillationConfig(distillation_head=head), [network(5)], *toy())

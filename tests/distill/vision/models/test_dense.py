"""Networks for every pixel: what they answer, where they are tapped, what only training has."""

import pytest
import torch

from distill.errors import UsageError
from distill.places import resolve
from distill.taps import TapPairs, probe
from distill.vision.models import build, try_on_two_images
from distill.vision.models.dense.network import DenseNetwork
from distill.vision.preprocess import Preprocess
from distill.vision.tasks import TASKS

PREPROCESS = Preprocess(size_px=64, channels=1, mean=(0.5,), std=(0.25,))

# The second's encoder and decoder are segmentation_models_pytorch's (make setup brings it).
NETWORKS = ("lraspp_mobilenet_v3_small", "unet_mobilenet_v2")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_pixel_is_answered_and_running_statistics_follow(name: str) -> None:
    for task in ("segmentation", "depth"):
        try_on_two_images(name, PREPROCESS, TASKS[task])
    model = build(name, num_classes=7, preprocess=PREPROCESS).eval()
    with torch.inference_mode():
        assert model(torch.rand(3, 1, 64, 64)).shape == (3, 7, 64, 64)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.1}


@pytest.mark.parametrize("name", NETWORKS)
def test_stage_ends_shrink_and_pooled_is_the_map_that_the_answer_is_read_from(name: str) -> None:
    model = build(name, num_classes=7, preprocess=PREPROCESS)
    places = {
        names: resolve(TapPairs(student=names, teacher=names), model.network, None).student  # type: ignore[arg-type]
        for names in ("stage-ends", ("pooled",))
    }
    found = probe(model, model.network, [place for row in places.values() for place in row], torch.zeros(2, 1, 64, 64))
    sides = [found.shapes[place][1] for place in places["stage-ends"]]
    assert len(sides) >= 3
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 16
    assert len(found.shapes[places["pooled",][0]]) == 3


def test_an_auxiliary_head_answers_in_train_mode_alone_and_is_taken_once() -> None:
    network = build("deeplabv3_mobilenet_v3_large", num_classes=5, preprocess=PREPROCESS).network
    assert isinstance(network, DenseNetwork)
    images = torch.rand(2, 3, 64, 64)
    network.eval()(images)
    assert network.take_auxiliary() is None
    network.train()(images)
    answer = network.take_auxiliary()
    assert answer is not None
    assert answer.shape == (2, 5, 64, 64)
    assert network.take_auxiliary() is None


def test_a_classifier_is_no_network_for_pixels_and_the_other_way_round() -> None:
    with pytest.raises(UsageError, match=r"logits \[2, classes, height, width\]\. Networks for segmentation: lr"):
        try_on_two_images("mobilenet_v3_small", PREPROCESS, TASKS["segmentation"])
    with pytest.raises(UsageError, match=r"expected logits \[2, classes\]\. It is no image classifier"):
        try_on_two_images("lraspp_mobilenet_v3_small", PREPROCESS)


@pytest.mark.parametrize(
    ("name", "message"), [("smp:unett:resnet18", "did you mean unet"), ("smp:unet:resnet1", "did you mean")]
)
def test_what_the_library_does_not_have_is_named(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        try_on_two_images(name, PREPROCESS, TASKS["segmentation"])

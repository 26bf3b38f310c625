import json
from pathlib import Path

from export.artifact.manifest import Parity
from export.proof.classes import recalls
from export.run.making import falls_in_words

PARITY = json.loads((Path(__file__).parent.parent / "golden" / "manifest.json").read_text())["parity"]


def parity(images: list[int], correct: list[int], eager_correct: list[int]) -> Parity:
    counts = {"class_images": images, "class_correct": correct, "eager_class_correct": eager_correct}
    return Parity.model_validate_json(json.dumps(PARITY | counts))


def test_classes_that_keep_less_than_the_limit_fall_unless_one_image_decides() -> None:
    found = recalls(parity([100, 100, 100, 10, 0], [99, 90, 97, 7, 0], [100, 91, 100, 10, 0]))
    assert [(each.number, each.falls) for each in found] == [(3, True), (2, True), (0, False), (1, False)]
    assert found[0].fall == 0.3


def test_the_worst_are_named_with_their_images() -> None:
    falls = [each for each in recalls(parity([50] * 5, [40, 50, 30, 45, 42], [50] * 5)) if each.falls]
    words = [f"{name} ({correct} of 50 right instead of 50)" for name, correct in (("c", 30), ("a", 40), ("e", 42))]
    assert falls_in_words(falls, "abcde") == ", ".join(words) + " and 1 more"


def test_without_labels_there_are_no_recalls() -> None:
    nothing = dict.fromkeys(("class_images", "class_correct", "eager_class_correct"))
    assert recalls(Parity.model_validate_json(json.dumps(PARITY | nothing))) == []

"""What `--vary` takes, and what it refuses before any work."""

import pytest

from distill.config import with_overrides
from distill.errors import UsageError
from distill.recipes import cifar_at_kd, cifar_kd, demo
from distill.tuning.record import Search, SearchData, on_training_images
from distill.tuning.varied import Choice, Range, Varied, in_words, parse
from distill.vision.datasets.held_back import HeldBack

DATA = SearchData(train_sha256="a", validation_sha256="b", num_train=80, num_validation=20)


def test_ranges_and_choices() -> None:
    texts = [
        "method.parts.1.weight=log:1:2000",
        "training.optimizer.momentum=uniform:0.5:0.99",
        "training.batch_size=int:32:128",
        "training.optimizer.nesterov=choice:true,false",
    ]
    weight, momentum, batch, nesterov = parse(texts, cifar_at_kd(), epochs_per_trial=None)
    assert weight == Varied(path="method.parts.1.weight", values=Range(kind="log", low=1, high=2000))
    assert momentum.values == Range(kind="uniform", low=0.5, high=0.99)
    assert batch.values.ends == (32, 128)
    assert nesterov.values == Choice(values=("true", "false"))
    values = {weight.path: 12.5, momentum.path: 0.75, batch.path: 48, nesterov.path: "true"}
    config = with_overrides(cifar_at_kd(), [each.assignment(values[each.path]) for each in (weight, momentum, batch)])
    assert (config.method.parts[1].weight, config.training.batch_size) == (12.5, 48)  # type: ignore[union-attr]


def test_student_is_another_name_of_training() -> None:
    (varied,) = parse(["student.optimizer.lr=log:0.01:0.1"], demo(), epochs_per_trial=None)
    assert varied.path == "training.optimizer.lr"


def test_a_kind_may_be_varied_with_what_belongs_to_all_of_them() -> None:
    texts = ["training.optimizer.kind=choice:sgd,adamw", "training.optimizer.lr=log:0.001:0.1"]
    assert len(parse(texts, demo(), epochs_per_trial=None)) == 2
    with pytest.raises(UsageError, match=r"--vary training\.optimizer\.kind=choice:sgd,adamw: .*momentum: unknown key"):
        parse([texts[0], "training.optimizer.momentum=uniform:0:0.9"], demo(), epochs_per_trial=None)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "nothing is varied"),
        (["training.optimizer.lr"], r"expected KEY=log:LOW:HIGH"),
        (["training.optimizer.lr=0.1"], r"expected KEY=log:LOW:HIGH"),
        (["=log:1:2"], r"expected KEY=log:LOW:HIGH"),
        (["training.optimizer.lr=exp:1:2"], r"there is no 'exp'"),
        (["training.optimizer.lr=log:0.1"], r"expected two numbers, LOW:HIGH, found '0.1'"),
        (["training.optimizer.lr=log:a:b"], r"expected two numbers"),
        (["training.optimizer.lr=log:0.1:0.01"], r"the lower bound comes first"),
        (["training.optimizer.lr=log:0.1:0.1"], r"the lower bound comes first"),
        (["training.optimizer.lr=log:0:0.1"], r"0 has no logarithm"),
        (["training.optimizer.lr=log:-1:0.1"], r"-1 has no logarithm"),
        (["training.optimizer.lr=uniform:0:inf"], r"both bounds must be finite"),
        (["training.optimizer.lr=uniform:0:nan"], r"both bounds must be finite"),
        (["training.batch_size=int:1.5:8"], r"expected whole numbers"),
        (["training.batch_size=uniform:8:16"], r"training\.batch_size: .*integer"),
        (["training.optimizer.kind=choice:sgd"], r"two different choices"),
        (["training.optimizer.kind=choice:sgd,sgd"], r"two different choices"),
        (["training.optimizer.kind=choice:sgd,adam"], r"'adam'"),
        (["training.optimiser.lr=log:0.01:0.1"], r"there is no group 'training.optimiser'"),
        (["training.optimizer.rate=log:0.01:0.1"], r"--set: training\.optimizer\.rate: unknown key"),
        (["method.parts.9.weight=log:1:2"], r"there is no group 'method.parts'"),
        (["training.optimizer.lr=uniform:0:0.1"], r"greater than 0 \(found 0.0\)"),
        (["method.alpha=uniform:0:2"], r"less than or equal to 1 \(found 2.0\)"),
        (["training.optimizer.lr=log:0.01:0.1", "student.optimizer.lr=log:0.1:1"], r"varied already"),
        (["seed=int:0:9"], r"seed is not varied: the best of several seeds is luck"),
        (["dataset.seed=int:0:9"], r"dataset is not varied: trials are compared on the same images"),
        (["training.judged_by=choice:accuracy,macro_f1"], r"compared by the same measure"),
        (["training.epochs=int:2:9"], r"--epochs-per-trial says how long"),
    ],
)
def test_what_cannot_be_varied_is_refused_in_words(texts: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refusal:
        parse(texts, demo(), epochs_per_trial=3)
    assert str(refusal.value).startswith("--vary ") or not texts


def search_of(epochs: int | None) -> Search:
    varied = parse(["training.optimizer.lr=log:0.01:0.1"], cifar_kd(), epochs_per_trial=epochs)
    return Search(config=cifar_kd(), varied=varied, epochs=epochs, held_back=0.2, seed=0, data=DATA, version="1")


def test_a_trial_learns_from_training_images_alone_and_its_schedule_is_as_short_as_it_is() -> None:
    trial = search_of(24).trial(7, {"training.optimizer.lr": 0.03})
    assert (trial.name, trial.training.optimizer.lr, trial.training.epochs) == ("trial-7", 0.03, 24)
    assert trial.training.schedule.epochs == (15, 18, 21)  # type: ignore[union-attr]
    assert trial.dataset == HeldBack(of=cifar_kd().dataset, share=0.2)
    assert trial.teacher_run().dataset == trial.dataset
    whole = on_training_images(cifar_kd(), 0.2, None)
    assert whole.training == cifar_kd().training


def test_the_best_settings_are_for_the_run_as_it_was_meant() -> None:
    best = search_of(24).best({"training.optimizer.lr": 0.03})
    expected = with_overrides(cifar_kd(), ["training.optimizer.lr=0.03", "name=cifar-kd-tuned"])
    assert best == expected


def test_numbers_are_said_to_four_digits() -> None:
    assert [in_words(value) for value in (0.0123456, 7, "true")] == ["0.01235", "7", "true"]

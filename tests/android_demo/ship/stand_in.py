"""Stands in for the commands of distill, export and bench at the boundary of processes: their words, files and answers.

Trains nothing and measures nothing, in a hundredth of the time. Lies as `stand_in.py` beside packages `distill`,
`export` and `bench` whose `__main__` is `import stand_in; stand_in.main(NAME)`; whoever works in that folder gets
these. `choose` is the real one. Every finished piece of work is a line of `work.log`. Files in the
folder change what happens:

    latencies.json   {network: ms}; `latencies-SERIAL.json` of one phone
    accuracies.json  {network: share of the images answered rightly when trained to the end}
    seconds.json     {network: what it says an epoch took}
    pause-at         a line that begins a piece of work: it touches `paused` and waits to be killed
    fail-at          a line that begins a piece of work: it ends with 1
    unplug-at        a line that begins a piece of work: the phone is gone from then on
    phone            there is a phone
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent
GOLDEN = Path(os.environ["STAND_IN_GOLDEN"])
IMAGES = 2000
CLASSES = ["dark", "light"]
SERIAL = os.environ.get("ANDROID_SERIAL", "X")


def main(package: str) -> None:
    command, words = sys.argv[1], sys.argv[2:]
    if package == "bench" and not hasattr(Bench, command):
        command, words = "measure", sys.argv[1:]
    if (package, command) == ("bench", "choose"):
        os.execv(sys.executable, [sys.executable, "-P", "-m", package, command, *words])
    told = getattr({"distill": Distill, "export": Export, "bench": Bench}[package], command)(Words(words))
    if told is not None:
        print(json.dumps(told))


class Words:
    """Options by name, settings, and what stands free."""

    def __init__(self, words: list[str]) -> None:
        self.options: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        self.free: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if word in ("--json", "--resume", "--rehearse"):
                self.options[word] = "yes"
            elif word.startswith("--"):
                value = value if equals else rest.pop(0)
                if name == "--set":
                    key, _, text = value.partition("=")
                    self.settings[key] = text
                else:
                    self.options[name] = value
            else:
                self.free.append(word)

    def __getitem__(self, name: str) -> str:
        return self.options[name]


def work(what: str) -> None:
    """One piece of work: told to wait or to fail, or done."""
    for file, act in (("pause-at", pause), ("fail-at", fail), ("unplug-at", unplug)):
        path = HOME / file
        if path.is_file() and what.startswith(path.read_text().strip()):
            act(what)
    with (HOME / "work.log").open("a") as log:
        log.write(f"{what}\n")


def unplug(what: str) -> None:
    (HOME / "phone").unlink(missing_ok=True)


def pause(what: str) -> None:
    (HOME / "paused").write_text(str(os.getpid()))
    time.sleep(120)


def fail(what: str) -> None:
    sys.exit(1)


def table(name: str, student: str, otherwise: float) -> float:
    path = HOME / name
    return json.loads(path.read_text()).get(student, otherwise) if path.is_file() else otherwise


def write(path: Path, value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def golden(path: str) -> Any:
    return json.loads((GOLDEN / path).read_text())


def latency_ms(model: str, precision: str) -> float:
    own = f"latencies-{SERIAL}.json"
    name = own if (HOME / own).is_file() else "latencies.json"
    return table(name, model, 2.0) * (0.7 if precision == "int8" else 1.0)


class Distill:
    @staticmethod
    def data(words: Words) -> Any:
        counts = {"train": dict.fromkeys(CLASSES, 50), "validation": dict.fromkeys(CLASSES, 20)}
        return {"classes": CLASSES, "counts": counts, "formats": {"PNG": 140}, "findings": []}

    @staticmethod
    def config(words: Words) -> Any:
        size = int(words.settings.get("image.size_px", 64))
        preprocess = {"size_px": size, "resize": "stretch", "channels": 1, "mean": [0.216], "std": [0.231]}
        return {
            "config": {"dataset": {"kind": "echo-phantom"}, "training": {"epochs": 2}},
            "preprocess": preprocess,
            "identity": "0" * 64,
        }

    @staticmethod
    def run(words: Words) -> Any:
        run, settings = Path(words["--out"]), words.settings
        name = settings.get("model", "teacher")
        epochs = int(settings.get("training.epochs", 2))
        last = min(epochs, int(words.options.get("--stop-after", epochs)))
        metrics = run / "metrics.jsonl"
        rows = metrics.read_text().splitlines() if metrics.is_file() else []
        for epoch in range(len(rows) + 1, last + 1):
            work(f"train {name} {epoch} of {epochs}")
            with metrics.open("a") if metrics.is_file() else open_new(metrics) as file:
                file.write(json.dumps({"epoch": epoch, "seconds": table("seconds.json", name, 1.0)}) + "\n")
        at_end = table("accuracies.json", name, 0.9)
        card = golden("distill/golden/card.json")
        card |= {"model": name, "class_names": CLASSES}
        card["weights_sha256"] = write(run / "best/weights.safetensors", f"{name} {epochs} {last}".encode())
        teacher = settings.get("teacher.path")
        card["training"] |= {
            "teacher_sha256": None if teacher is None else read_weights(Path(json.loads(teacher))),
            "finished": last == epochs,
            "config": card["training"]["config"] | {"training": {"epochs": epochs}},
            "best": card["training"]["best"] | {"accuracy": at_end * (last / epochs) ** 0.1, "epoch": last},
        }
        write(run / "best/card.json", card)
        return card


def open_new(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def read_weights(folder: Path) -> str:
    return json.loads((folder / "card.json").read_text())["weights_sha256"]


class Export:
    @staticmethod
    def formats(words: Words) -> Any:
        return [
            {"format": name, "missing_packages": lacks, "why_not_run": None}
            for name, lacks in (("eager", []), ("onnx", []), ("executorch", []), ("litert", ["litert-torch"]))
        ]

    @staticmethod
    def bundle(words: Words) -> None:
        write(Path(words["--out"]) / "bundle.json", {"artifacts": words.free})

    @staticmethod
    def doctor(words: Words) -> Any:
        work(f"doctor {words.free[0].split('/')[-1]} {words['--format']}")
        out = Path(words["--out"])
        write(out / "onnx.recipe.json", {"calibrator": "mse"})
        told = {"recipe_file": "onnx.recipe.json", "reason": "mse keeps the model"}
        command = f"python -m export {words.free[0]} --seed 0 --format onnx --precision int8 --recipe x"
        return {"formats": [told | {"export_command": command}]}

    @staticmethod
    def export(words: Words) -> Any:
        checkpoint = Path(words.free[0])
        folder = checkpoint if (checkpoint / "card.json").is_file() else checkpoint / "best"
        card = json.loads((folder / "card.json").read_text())
        told = []
        for form in words["--format"].split(","):
            for precision in words["--precision"].split(","):
                if (form, precision) == ("eager", "int8"):
                    sys.exit(2)
                told.append(export_one(card, form, precision, Path(words["--out"]), words))
        return told


def export_one(card: Any, form: str, precision: str, out: Path, words: Words) -> Any:
    model, folder = card["model"], out / f"{form}-{precision}"
    told = {"format": form, "precision": precision, "folder": str(folder), "cause": None, "status": "made"}
    manifest = folder / "manifest.json"
    if manifest.is_file() and "--recipe" not in words.options:
        return told | {"status": "unchanged", "manifest": json.loads(manifest.read_text())}
    work(f"export {model} {form} {precision}")
    accuracy = table("accuracies.json", model, 0.9)
    record = golden("export/golden/manifest.json")
    if (HOME / "refuse-int8").is_file() and precision == "int8" and "--recipe" not in words.options:
        record["parity"]["reason"] = "keeps 0.5 of eager's accuracy"
        return told | {"status": "refused", "manifest": record}
    files = [("model.bin", "model"), ("golden_input.npy", "golden-input"), ("golden_output.npy", "golden-output")]
    record |= {
        "format": form,
        "precision": precision,
        "model": model,
        "checkpoint_sha256": card["weights_sha256"],
        "teacher_sha256": card["training"]["teacher_sha256"],
        "method": card["training"]["method"],
        "files": [
            {"path": name, "role": role, "sha256": write(folder / name, f"{model} {form} {precision}".encode())}
            | {"size_bytes": (folder / name).stat().st_size}
            for name, role in files
        ],
    }
    right = round(accuracy * IMAGES)
    bits = (1 << right) - 1
    packed = bits.to_bytes(IMAGES // 8, "big")
    record["parity"] |= {
        "verdict": "pass",
        "accuracy": right / IMAGES,
        "num_images": IMAGES,
        "answers": {"order_sha256": "4f" * 32, "num_images": IMAGES, "right": packed.hex()},
    }
    write(manifest, record)
    return told | {"manifest": record}


class Bench:
    @staticmethod
    def choose(words: Words) -> None:
        raise AssertionError("the real one does this")

    @staticmethod
    def doctor(words: Words) -> Any:
        if not (HOME / "phone").is_file():
            print("no device is connected. Plug in a phone.", file=sys.stderr)
            sys.exit(2)
        found = {"topic": "phone", "found": f"Pixel {SERIAL}, Android 15", "grade": "good", "advice": ""}
        adb = {"topic": "adb", "found": "/bin/adb, protocol 41, serial X", "grade": "good", "advice": ""}
        return {"serial": SERIAL, "findings": [found, adb]}

    @staticmethod
    def plan(words: Words) -> Any:
        student = words["--students"]
        work(f"time {student}")
        timed = []
        for form in words["--format"].split(","):
            for precision in words["--precision"].split(","):
                ms = latency_ms(student, precision)
                timed.append(
                    {
                        "student": student,
                        "format": form,
                        "precision": precision,
                        "threads": 1,
                        "median_ms": ms,
                        "median_interval_ms": [0.95 * ms, 1.05 * ms],
                        "size_bytes": 1_000_000,
                        "validity": "valid",
                        "is_inside": False,
                        "is_open": False,
                    }
                )
        write(Path(words["--out"]) / "measurements.jsonl", {"of": student})
        return {"inside": [], "timed": timed}

    @staticmethod
    def measure(words: Words) -> None:
        journal, lines = Path(words["--out"]), []
        known = journal.read_text().splitlines() if journal.is_file() else []
        run_id = json.loads(known[-1])["run_id"] if "--resume" in words.options else f"{len(known):032x}"
        done = {row["subject"]["manifest_sha256"] for row in map(json.loads, known) if row["run_id"] == run_id}
        for folder in map(Path, words.free):
            sha256 = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
            if sha256 in done:
                continue
            manifest = json.loads((folder / "manifest.json").read_text())
            model, form, precision = manifest["model"], manifest["format"], manifest["precision"]
            work(f"measure {model} {form} {precision}")
            if words["--device"] == "android" and not (HOME / "phone").is_file():
                sys.exit(1)
            is_long = "--sustained" in words.options
            lines = [row(manifest, sha256, run_id, words["--device"], latency_ms(model, precision), is_long=is_long)]
            journal.parent.mkdir(parents=True, exist_ok=True)
            with journal.open("a") as file:
                file.write(json.dumps(lines[0]) + "\n")


def row(manifest: Any, sha256: str, run_id: str, device: str, ms: float, *, is_long: bool) -> Any:
    record = golden("bench/golden/measurement.json")
    parity = manifest["parity"]
    samples = [ms * (1 + 0.001 * (index % 5)) for index in range(90)]
    launch = record["launches"][0] | {"sample_count": 30, "steady": True, "burst_counts": [], "together": None}
    record["subject"] |= {
        "name": f"{manifest['model']} {manifest['method']}",
        "manifest_sha256": sha256,
        "accuracy": parity["accuracy"],
        "accuracy_images": parity["num_images"],
        "top1_agreement": parity["top1_agreement"],
        "answers": parity["answers"],
        **{key: manifest[key] for key in ("format", "precision", "model", "method", "checkpoint_sha256")},
        "teacher_sha256": manifest["teacher_sha256"],
        "size_bytes": next(file["size_bytes"] for file in manifest["files"]),
    }
    record["device"] |= {"kind": device, "name": "a machine"}
    if is_long:  # a minute and more, warmer at the end
        samples = [ms * (1.0 if index < 1000 else 1.5) for index in range(int(240_000 / ms))]
        launch |= {"sample_count": len(samples)}
    if device == "android":
        record["device"] |= {"instrument": "app", "serial": SERIAL, "name": f"Pixel {SERIAL}"}
    record |= {
        "run_id": run_id,
        "samples_ms": samples,
        "launches": [launch] * (1 if is_long else 3),
        "validity": "valid",
        "reason": "",
    }
    record |= {"measured_accuracy": None, "measured_agreement": None, "measured_images": 0, "measured_note": ""}
    return record | {"answered": None, "repeated": None, "path": None}

"""What a person should know of a tree of DICOM files, and what files are called without giving patients away."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distill.vision.datasets import folder_tree
from distill.vision.datasets.dicom.header import Header

SHOWN = 5


@dataclass
class Remarks:
    """Sentences about kinds of files, with their number and the first names.

    Attributes:
        root: of the data set.
        sentences: without a full stop.
    """

    root: Path
    sentences: list[str] = field(default_factory=list)

    def add(self, headers: Sequence[Header], what: str) -> None:
        """A sentence about these files, if there are any."""
        if headers:
            names = [_shown(self.root, header) for header in headers[:SHOWN]]
            more = f" and {len(headers) - SHOWN} more" if len(headers) > SHOWN else ""
            self.sentences.append(f"{len(headers)} files {what} ({', '.join(names)}{more})")

    def in_brackets(self) -> str:
        """What was left out, for an error."""
        return f" ({'; '.join(self.sentences)})" if self.sentences else ""

    def add_of_pictures(self, headers: Sequence[Header]) -> None:
        """What is odd about files that are used, whatever the settings."""
        modalities = Counter(header.modality or "none" for header in headers if not header.fault)
        if len(modalities) > 1:
            counts = ", ".join(f"{count} {name}" for name, count in modalities.most_common())
            self.sentences.append(f"modalities are mixed ({counts}); --set dataset.modality=NAME takes one of them")
        self.add([each for each in headers if not each.modality and not each.fault], "have no Modality")
        captures = [header for header in headers if header.is_capture]
        self.add(captures, "are secondary captures, which may be screens or reports")

    def add_of_patients(self, headers: Sequence[Header]) -> None:
        """Of these files, which do not say whose they are."""
        self.add(
            [header for header in headers if header.study],
            "have no PatientID; those of one StudyInstanceUID are taken for one patient",
        )
        self.add(
            [header for header in headers if not header.study],
            "have neither PatientID nor StudyInstanceUID; each is taken for a patient of its own",
        )

    def add_of_names(self, headers: Sequence[Header]) -> None:
        """Of files that are called otherwise than by their path."""
        hidden = sum(_identifies(self.root, header) for header in headers)
        if hidden:
            self.sentences.append(
                f"{hidden} of {len(headers)} paths hold a PatientID or a PatientName and are shown as patient-N/file-M"
            )

    def add_of_greys(self, headers: Sequence[Header]) -> None:
        """Whose greys have no window."""
        self.add(
            [header for header in headers if not header.has_window],
            "have greys of more than 8 bits and no window; black and white are the ends of what their bits can hold, "
            "and --set 'dataset.window=[CENTRE,WIDTH]' sets others",
        )

    def add_of_burned_in_text(self, headers: Sequence[Header], *, masks: bool) -> None:
        """Whose text stays."""
        left = [header for header in headers if header.says_burned_in and not (masks and header.is_ultrasound)]
        why = "it is masked in ultrasound only" if masks else "dataset.mask_outside_sector is off"
        self.add(left, f"say that identifying text stands in their pixels; {why}")

    def add_of_regions(self, headers: Sequence[Header]) -> None:
        """Which cannot be cropped."""
        for fault in sorted({header.region_fault for header in headers if header.region_fault}):
            self.add([header for header in headers if header.region_fault == fault], f"{fault}; they are not cropped")


def readable_names(root: Path, headers: Sequence[Header], patients: Mapping[Path, int]) -> list[str]:
    """What people are shown instead of a path that identifies."""
    return [
        f"patient-{patients[header.file] + 1}/file-{number}"
        if _identifies(root, header)
        else folder_tree.relative_name(header.file, root)
        for number, header in enumerate(headers, start=1)
    ]


def _shown(root: Path, header: Header) -> str:
    return (
        "a file whose path names its patient"
        if _identifies(root, header)
        else folder_tree.relative_name(header.file, root)
    )


def _identifies(root: Path, header: Header) -> bool:
    path = folder_tree.relative_name(header.file, root).casefold()
    return any(value in path for value in header.identifying)

"""Data sets: the union `DatasetConfig` is the one table, one file or folder per data set.

Importing this imports neither torch nor pydicom.
A data set is a strict config with `kind`, `channels` and `load(split, preprocess) -> Split`.
"""

from typing import Annotated, get_args

from pydantic import Field

from distill.vision.datasets.cifar import Cifar10, Cifar100
from distill.vision.datasets.dicom import Dicom
from distill.vision.datasets.echo_phantom import EchoPhantom, EchoPhantomMasks
from distill.vision.datasets.held_back import HeldBack
from distill.vision.datasets.image_folder import ImageFolder
from distill.vision.datasets.image_mask_folder import ImageMaskFolder
from distill.vision.datasets.indoor_phantom import IndoorPhantom
from distill.vision.datasets.split import ImageSource, Split, SplitName

AnyDataset = (
    EchoPhantom
    | EchoPhantomMasks
    | IndoorPhantom
    | ImageFolder
    | ImageMaskFolder
    | Dicom
    | Cifar10
    | Cifar100
    | HeldBack
)

DatasetConfig = Annotated[AnyDataset, Field(discriminator="kind")]

# A part may be of any data set of this table, the ones that come after it in this file's imports included.
HeldBack.model_rebuild(_types_namespace={"DatasetConfig": DatasetConfig})

DATASETS: dict[str, type[AnyDataset]] = {config.model_fields["kind"].default: config for config in get_args(AnyDataset)}
"""Name -> settings class."""

__all__ = ["DATASETS", "DatasetConfig", "ImageSource", "Split", "SplitName"]

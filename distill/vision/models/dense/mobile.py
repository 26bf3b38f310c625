"""LR-ASPP and DeepLabV3 on MobileNetV3, from torchvision (Howard et al. 2019, arXiv:1905.02244; Chen et al. 2017,
arXiv:1706.05587).

The last stage is dilated, so that it keeps a sixteenth of the input's size. Deviation: momentum of running statistics
is 0.1, as in `distill.vision.models.mobilenet_v3`.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.lraspp import LRASPP

from distill.vision.models.dense.network import DenseNetwork, with_usual_norms


class Torchvision(DenseNetwork):
    """A backbone, a classifier of one of its maps or of all, perhaps an auxiliary one."""

    encoder_path = "backbone"

    def __init__(
        self, backbone: nn.Module, classifier: nn.Module, auxiliary: nn.Module | None, *, pooled_path: str, takes: str
    ) -> None:
        super().__init__()
        self.backbone, self.classifier, self.auxiliary_classifier = backbone, classifier, auxiliary
        self.pooled_path = pooled_path
        self.takes = takes
        self.enlarges = True
        with_usual_norms(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> [B, outputs, H, W]."""
        size = images.shape[2:]
        maps = self.backbone(images)
        if self.training and self.auxiliary_classifier is not None:
            self.auxiliary = _enlarged(self.auxiliary_classifier(maps["aux"]), size)
        answer = self.classifier(maps if self.takes == "all" else maps[self.takes])
        return _enlarged(answer, size) if self.enlarges else answer

    def leave_small(self) -> None:
        """As `DenseNetwork.leave_small`."""
        self.enlarges = False


def _enlarged(answer: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(answer, size=size, mode="bilinear", align_corners=False)


def lraspp_mobilenet_v3_large(num_outputs: int) -> nn.Module:
    """LR-ASPP on MobileNetV3-Large: 3,219,158 parameters with 7 outputs."""
    network = models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=num_outputs
    )
    return _lraspp(network)


def lraspp_mobilenet_v3_small(num_outputs: int) -> nn.Module:
    """LR-ASPP on MobileNetV3-Small: 1,075,798 parameters with 7 outputs."""
    backbone = models.mobilenet_v3_small(weights=None, dilated=True).features
    starts = [0, *(place for place, block in enumerate(backbone) if getattr(block, "_is_cn", False)), len(backbone) - 1]
    low, high = starts[-4], starts[-1]
    channels = [backbone[place].out_channels for place in (low, high)]  # pyright: ignore[reportAttributeAccessIssue]
    getter = IntermediateLayerGetter(backbone, return_layers={str(low): "low", str(high): "high"})
    return _lraspp(LRASPP(getter, channels[0], channels[1], num_outputs))  # pyright: ignore[reportArgumentType]


def deeplabv3_mobilenet_v3_large(num_outputs: int) -> nn.Module:
    """DeepLabV3 on MobileNetV3-Large with an auxiliary head: 11,025,576 parameters with 7 outputs."""
    network = models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=num_outputs, aux_loss=True
    )
    return Torchvision(
        network.backbone, network.classifier, network.aux_classifier, pooled_path="classifier.4:input", takes="out"
    )


def _lraspp(network: LRASPP) -> nn.Module:
    return Torchvision(network.backbone, network.classifier, None, pooled_path="classifier.cbr", takes="all")

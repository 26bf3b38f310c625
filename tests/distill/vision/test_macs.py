import torch

from distill.vision.macs import count_macs


def test_convolutions_and_products_are_counted_by_hand() -> None:
    # 8 x 8 outputs of 3 * 3 * 3 products in 4 channels; depthwise 4 of 3 * 3; then 4 * 8 * 8 inputs to 10 classes.
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.Conv2d(4, 4, 3, padding=1, groups=4),
        torch.nn.Hardswish(),
        torch.nn.Flatten(),
        torch.nn.Linear(256, 10),
    ).eval()
    assert count_macs(network, (3, 8, 8)) == 64 * 27 * 4 + 64 * 9 * 4 + 256 * 10

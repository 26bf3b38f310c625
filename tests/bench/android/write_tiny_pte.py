"""Writes a small ExecuTorch program and its weights to the folder given; a process of its own, for torch's sake."""

import sys
from pathlib import Path

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower

folder = Path(sys.argv[1])
torch.manual_seed(0)
linear = torch.nn.Linear(3 * 8 * 8, 3, bias=False)
model = torch.nn.Sequential(torch.nn.Flatten(), linear).eval()
exported = torch.export.export(model, (torch.rand(1, 3, 8, 8),))
edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
(folder / "model.pte").write_bytes(edge.to_executorch().buffer)
np.save(folder / "weights.npy", linear.weight.detach().numpy().T)

"""A CUDA GPU of this machine: the launches and stop rules of `bench.cpu.device` with the GPU's own clock."""

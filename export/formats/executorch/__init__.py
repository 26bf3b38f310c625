"""ExecuTorch programs: one exporter per backend, and what they share."""

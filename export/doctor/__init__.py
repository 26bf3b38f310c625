"""python -m export doctor: how far a model can be quantized without losing it, and by which recipe."""

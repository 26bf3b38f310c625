"""Graphs as torch.export gives them: read, counted and rewritten without changing a number, or but its rounding."""

"""A grid of runs with repeats: its cells, its progress, and the table that compares them."""

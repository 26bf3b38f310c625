"""How long calls take: the timed loop, and what its samples say. Knows nothing of models and devices."""

"""Networks that did not come from a run: they become checkpoints, too."""

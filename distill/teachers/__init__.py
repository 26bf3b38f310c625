"""Teachers as people have them, and the trial before one is believed."""

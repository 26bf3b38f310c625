"""Quantization apart from any toolchain: recipes, calibration images, ranges, corrections of weights."""

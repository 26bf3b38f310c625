"""Measurements held against one another: under like conditions, over time, inside a budget."""

"""What an artifact is held against, and the limits it must keep."""

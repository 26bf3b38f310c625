"""The CPU of this machine: its state, and processes that sample in turn."""

"""Phones on adb: measured as carefully as the desk. `PhoneBench` is the device."""

from bench.android.phones import PhoneBench

__all__ = ["PhoneBench"]

"""Measure artifacts and report: artifact -> measurements -> report."""

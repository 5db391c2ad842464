"""Fuzz targets: functions that check a random input, and raise AssertionError for a fault."""

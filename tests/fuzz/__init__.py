"""Fuzz targets: functions that draw an input from a random generator and raise AssertionError.

``python -m tests.fuzz --help`` says how to run them.
"""

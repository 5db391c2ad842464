"""The measurements of compare.py, one module for each kind."""

"""Servers of other projects, which the tests run on free loopback ports."""

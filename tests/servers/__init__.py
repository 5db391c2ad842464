"""Servers that somebody else wrote, run by the tests on free loopback ports."""

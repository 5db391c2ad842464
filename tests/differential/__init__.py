"""A comparison of our session with `requests.Session`: the same calls in the same world.

A case is a short program, drawn from a seed: lines of Python that set up an environment and a
session, and make one to five calls. `cases` draws the lines, `things` has the objects that they
use, `world` runs them, once with each session, and `compare` says what of both is compared, and
what differs by design.

``python -m tests.differential --help`` says how to run it for longer.
"""

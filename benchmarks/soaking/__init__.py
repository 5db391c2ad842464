"""The parts of the soak: the world it runs in, the calls that are made, and the verdict."""

"""The parts of the soak test: the servers, the callers and the verdict."""

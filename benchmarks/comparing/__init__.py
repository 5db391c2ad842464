"""The parts of the comparison: the servers, the libraries and the situations."""

"""The parts of the comparison: the world, the libraries as their own pages use them, situations."""

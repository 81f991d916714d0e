"""How good a result is: metrics, plain interpolation to compare with, protocol, and the runner that writes tables."""

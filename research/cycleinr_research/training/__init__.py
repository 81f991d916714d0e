"""Training: patches from fine volumes, losses, the loop, validation."""

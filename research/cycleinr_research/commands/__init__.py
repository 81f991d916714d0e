"""The commands that ``cycleinr`` has where this package is installed."""

"""``python -m cycleinr``: the command line, or the worker process that Slicer drives."""

from __future__ import annotations

import sys


def main() -> None:
    """Start what the first argument asks for; the worker does without the command line's packages."""
    if sys.argv[1:2] == ["worker"]:
        from cycleinr.worker.serve import main as serve

        sys.exit(serve())
    try:
        from cycleinr.cli.app import run

        sys.exit(run())
    except KeyboardInterrupt:
        # While packages load, before run() answers signals
        print("cycleinr: Cancelled; nothing was written.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

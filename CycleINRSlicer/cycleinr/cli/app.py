"""The ``cycleinr`` command: its sub-commands, and errors turned into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys

import typer

from ..errors import CycleinrError
from ..memory import keep_freed_memory
from ..threads import wait_politely
from . import batch, demo, evaluate, info, train, upsample

EXIT_CODES = """
Exit codes: 0 done; 1 unexpected error; 2 wrong arguments; 3 input cannot be used; 4 request does not fit the input;
5 output cannot be written; 6 model missing or damaged; 7 device does not work; 8 out of memory; 9 training diverged;
10 some scans of a batch failed; 11 no Dask cluster; 130 cancelled.
"""

app = typer.Typer(
    help="Finer slices from thick-slice CT and MR scans (CycleINR). Results are derived, not acquired: not for "
    "primary diagnosis.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("upsample")(upsample.upsample_command)
app.command("batch")(batch.batch_command)
app.command("info")(info.info_command)
app.command("train")(train.train_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("demo")(demo.demo_command)


def run() -> int:
    """Run the command line and return its exit code; every intended error is one line on standard error."""
    logging.basicConfig(level=os.environ.get("CYCLEINR_LOG", "WARNING"), format="%(levelname)s %(name)s: %(message)s")
    keep_freed_memory()
    wait_politely()
    try:
        return app(standalone_mode=False) or 0
    except CycleinrError as error:
        print(f"cycleinr: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("cycleinr: Cancelled; nothing was written.", file=sys.stderr)
        return 130
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        # click's own errors (wrong arguments) know how to show themselves; they carry exit code 2.
        if not hasattr(error, "show"):
            raise
        error.show()
        return error.exit_code

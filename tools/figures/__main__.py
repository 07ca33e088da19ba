"""The command line: `python -m tools.figures run|tables|list`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from revisor.errors import NotFound, RevisorError
from tools.figures.listing import chosen, read_list
from tools.figures.pages import write_pages
from tools.figures.running import Places, is_current, run_figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.figures", description=__doc__)
    parser.add_argument("what", choices=("run", "tables", "list"))
    parser.add_argument("--only", metavar="A,B", help="only these figures")
    parser.add_argument("--again", action="store_true", help="those that are measured, too")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("REVISOR_DATA"), help="benchmark data"
    )
    given = parser.parse_args()
    try:
        figures = read_list()
        some = chosen(figures, given.only)
        if given.what == "list":
            for one in some:
                state = "measured" if is_current(one) else f"{one.minutes} minutes"
                sys.stdout.write(f"{one.name}: {one.about} ({state})\n")
            return 0
        failed = []
        if given.what == "run":
            if given.data is not None and not Path(given.data).is_dir():
                raise NotFound(f"There is no folder {given.data}.", "Check REVISOR_DATA or --data.")
            data = None if given.data is None else Path(given.data).resolve()
            failed = run_figures(some, Places(data=data), again=given.again)
        for page in write_pages(figures):
            sys.stdout.write(f"{page}\n")
    except RevisorError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stderr.writelines(f"failed: {one}\n" for one in failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m ee build` builds the execution environment unless it is there, and prints its name; `contents` prints what it has."""

from __future__ import annotations

import argparse
import json
import sys

from lab.console import say
from lab.errors import LabError

from . import image


def main() -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ee", description=(__doc__ or "").replace("`", ""))
    parser.add_argument("verb", choices=("build", "contents"))
    verb = parser.parse_args().verb
    try:
        name = image.ensure()
        if verb == "build":
            say(f"  {name}: {image.size(name) // 10**6} MB")
            print(name)
        else:
            print(json.dumps(image.contents(name), indent=2, sort_keys=True))
    except LabError as error:
        say(error.report())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

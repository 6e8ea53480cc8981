# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the dashboards from dashboards/boards.py; a file is the same for the same boards.

python -m dashboards            write
python -m dashboards --check    say which files are out of date, exit code 1
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .boards import BOARDS
from .panels import Board, built

ROOT = Path(__file__).resolve().parent.parent


def text(board: Board) -> str:
    """The file of one dashboard."""
    return json.dumps(built(board), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    stale = [
        name
        for name, board in BOARDS.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text("utf-8") != text(board)
    ]
    if arguments == ["--check"]:
        print("\n".join(f"{name} is out of date: run `make docs`" for name in stale), end="\n" if stale else "")
        return int(bool(stale))
    for name in stale:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text(BOARDS[name]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

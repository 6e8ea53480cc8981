# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 power.py PLACE FLAG`: cut the power of the file system that is mounted at PLACE (FS_IOC_SHUTDOWN; needs root).

FLAG 2 drops everything that is not on the disk yet, the file system's own journal in memory included; 0 writes all first.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys

SHUTDOWN = 0x8004587D


def cut(place: str, flag: int) -> None:
    """From now on nothing reaches the disk any more."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", flag))
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    cut(sys.argv[1], int(sys.argv[2]))

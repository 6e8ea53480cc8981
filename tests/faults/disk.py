# SPDX-License-Identifier: GPL-3.0-or-later
"""Real file systems in a file, whose power can be cut: FS_IOC_SHUTDOWN drops what was not made durable."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from faults import power
from lab import shell

WRITES_ALL, LOSES_ALL = 0, 2  # FS_IOC_SHUTDOWN's flags: freeze first, so that all is written; drop what is in memory
# auto_da_alloc lets ext4 write a renamed file's data by itself: we are not to live by that. A commit every 5 s is too seldom to help.
MAKE = {
    "ext4": (32, ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0"], ["-o", "loop,noauto_da_alloc,commit=300"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"], ["-o", "loop"]),
}


RELEASED_SECONDS = 120


def backing_files() -> Iterator[str]:
    """The file behind each loop device that there is now."""
    for told in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            yield told.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Disk:
    """A file system in the file ``image``, mounted at ``place``."""

    kind: str
    image: Path
    place: Path

    def make(self) -> None:
        size, words, _options = MAKE[self.kind]
        with open(self.image, "wb") as stream:
            stream.truncate(size << 20)
        shell.run([*words, str(self.image)], root=True)
        with self.mounted():
            shell.run(["chown", f"{os.geteuid()}:{os.getegid()}", str(self.place)], root=True)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Mount it: whatever its journal holds is replayed by the kernel. At the end what is open is no obstacle."""
        self.place.mkdir(exist_ok=True)
        shell.run(["mount", *MAKE[self.kind][2], str(self.image), str(self.place)], root=True)
        try:
            yield
        finally:
            shell.run(["umount", str(self.place)], root=True)
            self._await_release()

    def _await_release(self) -> None:
        """A container that was being started has every mount for a moment: until it lets go, the disk is not whole."""
        deadline = time.monotonic() + RELEASED_SECONDS
        while any(str(self.image) in told for told in backing_files()):
            assert time.monotonic() < deadline, f"{self.image} is still mounted somewhere after {RELEASED_SECONDS} s"
            time.sleep(0.02)

    def copy_to(self, other: Path) -> Disk:
        """The same disk in another file; call it while it is not mounted."""
        shell.run(["cp", "--sparse=always", str(self.image), str(other)])
        return Disk(self.kind, other, self.place)

    def cut_power(self, flag: int = LOSES_ALL) -> None:
        """From now on nothing reaches the disk any more."""
        if os.geteuid() == 0:
            power.cut(str(self.place), flag)
        else:
            shell.run([sys.executable, "-I", power.__file__, str(self.place), str(flag)], root=True)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What is deployed: two releases of the same size, of which the second differs in one byte of a hundred."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

RELEASES = ("one", "two")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """So many files of so many bytes each, incompressible, in directories of a hundred, and a file that says which release it is."""

    name: str
    files: int
    file_bytes: int

    @property
    def bytes(self) -> int:
        return self.files * self.file_bytes

    @property
    def described(self) -> str:
        count = f"{self.files:,} files" if self.files > 1 else "one file"
        return f"{count}, {self.bytes // 1_000_000:,} MB"

    def make(self, place: Path) -> None:
        """Write both releases below a directory, unless they are there: `one/`, `two/`."""
        if (place / "whole").exists():
            return
        shutil.rmtree(place, ignore_errors=True)
        one, two = (place / release for release in RELEASES)
        self._write(one)
        (one / "slipway.yml").write_text("application: bench\n")
        shutil.copytree(one, two)  # with the times of files, as in a working copy: some tools go by them
        self._change(two)
        for release in (one, two):
            (release / "version").write_text(f"{release.name}\n")
        (place / "whole").touch()

    def paths(self) -> list[str]:
        """The files, relative."""
        return [f"d{number % max(1, self.files // 100):02d}/f{number:04d}" for number in range(self.files)]

    def _write(self, place: Path) -> None:
        source = random.Random(7)
        for relative in self.paths():
            path = place / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for begin in range(0, self.file_bytes, BLOCK):
                    file.write(source.randbytes(min(BLOCK, self.file_bytes - begin)))

    def _change(self, place: Path) -> None:
        """New content for one file in a hundred; where there is but one, for one byte in a hundred in its middle."""
        source = random.Random(11)
        paths = self.paths()
        if len(paths) >= 100:
            for relative in source.sample(paths, len(paths) // 100):
                (place / relative).write_bytes(source.randbytes(self.file_bytes))
            return
        with (place / paths[0]).open("r+b") as file:
            file.seek(self.file_bytes // 2)
            file.write(source.randbytes(self.file_bytes // 100))


BUNDLES = {each.name: each for each in (Bundle("small", 2000, 16 * 1024), Bundle("large", 1, 2 << 30))}

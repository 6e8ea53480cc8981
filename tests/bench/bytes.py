# SPDX-License-Identifier: GPL-3.0-or-later
"""What bytes and files cost, without hosts and without a network: `python -m tests.bench.bytes`.

Each step of a release on its way is a process of its own that works as controller or host do: its seconds, its processor
seconds and the most memory that it ever had. Large: one file of so many MiB, random and so incompressible, text that
compresses, or nothing but a hole. Small: so many files of 200 bytes. Seconds are ones of this machine; that memory stays the
same and that time grows as the bytes and the files do is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path.insert(0, str(REPOSITORY / "tests"))

import signed
from ansible.module_utils.slipway.base.files import sync_file_system
from ansible.module_utils.slipway.controller import bundle, deployment
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.host.pack import Pack
from ansible.module_utils.slipway.host.places import Host, Places
from ansible.module_utils.slipway.host.store import Store
from ansible.module_utils.slipway.trust.policy import TrustPolicy
from ansible.module_utils.slipway.trust.tree import FileList
from ansible.module_utils.slipway.trust.verify import verify_tree

MIB = 1 << 20
SMALL_BYTES = 200
PER_DIRECTORY = 250
CREATED = signed.NOW


class World:
    """A controller and a host below one directory."""

    def __init__(self, place: Path) -> None:
        self.source = place / "source"
        self.state = place / "state"
        self.catalogue = Catalogue(place / "catalogue")
        self.host = Places(Host(root=place / "host", uid=os.geteuid()), "bench")
        self.store = Store(self.host)

    def file_list(self) -> FileList:
        digest = self.catalogue.manifest("bench", "v1").tree_digest
        return FileList.parse(self.catalogue.file_list_bytes("bench", digest), digest=digest)

    def the_pack(self) -> Path:
        return next((self.state / "packs/run").glob("*.pack"))


def make(world: World) -> None:
    policy = TrustPolicy.parse(signed.policy_envelope())
    bundle.make(bundle.Request(world.source, signed.BUILDER_KEY, policy, CREATED, "v1", "1.0"), world.catalogue)


def pack(world: World) -> None:
    shipment = deployment.Shipment("v1", "run", world.file_list().object_names)
    deployment.make_pack(world.state, world.catalogue, "bench", shipment, None)


def unpack(world: World) -> None:
    with open(world.the_pack(), "rb") as stream:
        arrived = Pack(stream)
        manifest = world.catalogue.manifest("bench", "v1")
        file_list = FileList.parse(arrived.file_list, digest=manifest.tree_digest)
        by_digest = {entry.sha256: entry for entry in file_list.files}
        world.host.objects.mkdir(parents=True)
        for incoming in arrived.objects():
            world.store.put(incoming, [by_digest[incoming.sha256]], CREATED)


def link(world: World) -> None:
    world.store.build("v1", world.file_list(), {}, CREATED)


def verify(world: World) -> None:
    verify_tree(world.file_list(), world.store.release("v1"), owner=os.geteuid())


def lacking(world: World) -> None:
    if world.store.lacking(world.file_list()):
        raise AssertionError("objects that were just stored are lacking")


def prune(world: World) -> None:
    world.store.prune(["v1"])


STEPS: dict[str, Callable[[World], None]] = {
    "make the release": make,
    "make the pack": pack,
    "unpack": unpack,
    "link": link,
    "verify": verify,
    "what is lacking": lacking,
    "prune": prune,
}


def large(source: Path, mebibytes: int, kind: str) -> None:
    """One file: `random`, `text`, or a `hole` with a little at its end."""
    with open(source / "model.bin", "wb") as stream:
        if kind == "hole":
            stream.seek(mebibytes * MIB - 4096)
            stream.write(os.urandom(4096))
            return
        lines = "".join(f"{number} {number * 7919 % 104729} a line of text\n" for number in range(60_000)).encode()[
            :MIB
        ]
        for _ in range(mebibytes):
            stream.write(os.urandom(MIB) if kind == "random" else lines)


def small(source: Path, count: int) -> None:
    """`count` different files in directories of a few hundred."""
    numbers = random.Random(1)
    for number in range(count):
        directory = source / f"d{number // PER_DIRECTORY:04d}"
        if number % PER_DIRECTORY == 0:
            directory.mkdir()
        (directory / f"f{number:06d}").write_bytes(numbers.randbytes(SMALL_BYTES))


def step_of(name: str, place: Path) -> dict[str, float]:
    """Run one step in a process of its own: {seconds, processor_seconds, peak_mib}."""
    argv = [sys.executable, "-m", "tests.bench.bytes", "--step", name, "--place", str(place)]
    done = subprocess.run(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name} ended with exit code {done.returncode}")
    return dict(json.loads(done.stdout))


def most_memory() -> float:
    """The most memory that this process ever had, in MiB; ru_maxrss is its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def case(title: str, place: Path, fill: Callable[[Path], None]) -> None:
    """Every step for one source, a line each."""
    with tempfile.TemporaryDirectory(dir=place) as directory:
        world = World(Path(directory))
        world.source.mkdir()
        (world.source / "slipway.yml").write_text("application: bench\n")
        fill(world.source)
        for name in STEPS:
            figures = step_of(name, Path(directory))
            more = ""
            if name == "make the pack":
                more = f"{world.the_pack().stat().st_size / MIB:.1f} MiB"
            elif name == "unpack":
                more = f"{_blocks(world.host.objects) / MIB:.1f} MiB on the disk"
            print(
                f"| {title} | {name} | {figures['seconds']:.2f} | {figures['processor_seconds']:.2f} "
                f"| {figures['peak_mib']:.0f} | {more} |",
                flush=True,
            )


def _blocks(directory: Path) -> int:
    """The bytes that the files below it take on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bytes", description=__doc__)
    parser.add_argument("--large", default="64,2048", help="sizes in MiB of the one large file")
    parser.add_argument("--kinds", default="random,text,hole", help="of what it is made")
    parser.add_argument("--small", default="25000,50000,100000,200000", help="how many small files")
    parser.add_argument("--place", type=Path, default=REPOSITORY / ".slipway/bench", help="a directory on a real disk")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        world = World(options.place)
        began, used = time.monotonic(), time.process_time()
        STEPS[options.step](world)
        figures = {
            "seconds": time.monotonic() - began,
            "processor_seconds": time.process_time() - used,
            "peak_mib": most_memory(),
        }
        print(json.dumps(figures))
        return
    options.place.mkdir(parents=True, exist_ok=True)
    print("| source | step | s | processor s | most MiB | size |\n|---|---|---|---|---|---|")
    for size in [int(text) for text in options.large.split(",") if text]:
        for kind in options.kinds.split(","):
            case(f"{size} MiB, {kind}", options.place, lambda source, size=size, kind=kind: large(source, size, kind))
    for count in [int(text) for text in options.small.split(",") if text]:
        case(f"{count} files", options.place, lambda source, count=count: small(source, count))
        sync_file_system(options.place)


if __name__ == "__main__":
    main()

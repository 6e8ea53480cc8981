# SPDX-License-Identifier: GPL-3.0-or-later
"""What secrets cost: `python -m tests.bench.secrets`. A real Vault on loopback, and no hosts but this machine.

How often Vault is asked by a run of eight hosts that use ten secrets twice, and by the next run, counted in Vault's own audit log; how long it takes until the next
provider answers where the first one refuses connections, hangs or is sealed; and what a read costs from the local store and from the cache.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path.insert(0, str(REPOSITORY / "tests"))

import vaults
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.keeper import Keeper
from ansible.module_utils.slipway.secrets.local_store import LocalStore
from ansible.module_utils.slipway.secrets.login import Logins
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.secret_settings import SecretSettings
from ansible.module_utils.slipway.secrets.store_key import make_key
from ansible.module_utils.slipway.secrets.vault import Vault
from ansible.module_utils.slipway.secrets.volatile import open_volatile
from safes import own_memory

HOSTS, SECRETS, USES, ROUNDS = 8, 10, 2, 500
NAMES = [f"name-{number}" for number in range(SECRETS)]
TIMEOUT_SECONDS = 2


def median_ms(work: Callable[[], object]) -> float:
    """The median of many rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(times), 3)


def provider_of(vault: vaults.RealVault, **changes: Any) -> dict[str, Any]:
    about = vault.settings()
    return {
        "type": "vault", "url": vault.url, "ca_path": str(vault.ca), "prefix": "shop", "auth": "approle", "role_id_path": str(about.role_id_path),
        "secret_id_path": str(about.secret_id_path), **changes,
    }  # fmt: skip


class Bench:
    """Ten secrets at a Vault, and the same in a local store behind it."""

    def __init__(self, directory: Path, memory: Path, vault: vaults.RealVault) -> None:
        self.directory, self.memory, self.vault = directory, memory, vault
        self.key = make_key(directory / "key")
        self.store = LocalStore("local", directory / "secrets.enc", lambda: self.key)
        self.store.make()
        for name in NAMES:
            vault.put(name, password=f"of {name}")
            self.store.write(Secret(name, {"password": f"of {name}"}))

    def variables(self, **changes: Any) -> dict[str, Any]:
        local = {"type": "local", "path": str(self.directory / "secrets.enc"), "key_path": str(self.directory / "key")}
        return {
            "secrets_chain": ["vault", "local"], "secrets_swap_accepted": True, "secrets_timeout_seconds": TIMEOUT_SECONDS,
            "secrets_providers": {"vault": provider_of(self.vault, **changes), "local": local},
        }  # fmt: skip

    def asked(self) -> tuple[int, int]:
        """Reads and logins that Vault's audit device noted."""
        reads = sum(len(self.vault.asked(f"secret/data/shop/{name}", "read")) for name in NAMES)
        return reads, len(self.vault.asked("auth/approle/login"))

    def play(self) -> dict[str, float]:
        """One run of ansible-playbook; what it asked of Vault."""
        project = self.directory / "project"
        (project / "group_vars").mkdir(parents=True, exist_ok=True)
        variables = {
            **self.variables(), "secrets_timeout_seconds": 60, "slipway_environment": "prod", "slipway_state_directory": str(self.directory / "state"),
            **{name.replace("-", "_"): f"{{{{ lookup('slipway_secret', '{name}', field='password') }}}}" for name in NAMES},
        }  # fmt: skip
        (project / "group_vars/all.yml").write_text(json.dumps(variables))
        used = [f"{name.replace('-', '_')} == 'of {name}'" for name in NAMES]
        tasks = [{"name": f"Use them, {number}", "assert": {"that": used}, "no_log": True} for number in range(USES)]
        (project / "play.yml").write_text(
            json.dumps(
                [{"hosts": "all", "gather_facts": False, "connection": "local", "become": False, "tasks": tasks}]
            )
        )
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "XDG_RUNTIME_DIR": str(self.memory),
        }
        before, lines, began = self.asked(), len(self.log.records()), time.perf_counter()
        command = [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            ",".join(f"host-{number}" for number in range(HOSTS)),
            "play.yml",
        ]
        subprocess.run(command, cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        records = self.log.records()[lines:]
        after = self.asked()
        hits = sum(record["cached"] for record in records) / len(records)
        return {
            "lookups": len(records), "reads_at_vault": after[0] - before[0], "logins_at_vault": after[1] - before[1],
            "cache_hits_percent": round(hits * 100, 1), "seconds": round(seconds, 2),
        }  # fmt: skip

    @property
    def log(self) -> AccessLog:
        return AccessLog(self.directory / "state/access.jsonl")

    def keeper(self, run: str, **changes: Any) -> Keeper:
        """The chain of a run that has learned nothing yet."""
        settings = SecretSettings.parse(self.variables(**changes))
        place = open_volatile({}, run, swap_accepted=True, shared=self.memory)
        clock = SystemClock()
        about = settings.chain[0].vault
        assert about is not None
        return Keeper(
            settings, [Vault("vault", about, Logins(place, clock)), self.store], place, self.log, Caller("bench", run, "prod", "host"), clock,
            lambda sentence: None,
        )  # fmt: skip

    def failover(self, run: str, **changes: Any) -> dict[str, float]:
        """Until the next provider has answered: the first time, and once the run knows."""
        keeper = self.keeper(run, **changes)
        took = []
        for name in NAMES[:2]:
            began = time.perf_counter()
            if keeper.read(name, "password") != f"of {name}":
                raise AssertionError("another value")
            took.append((time.perf_counter() - began) * 1000)
        return {"first_ms": round(took[0], 1), "next_ms": round(took[1], 2)}

    def flush(self) -> None:
        self.keeper("run-0-0-flush").flush()


def main() -> None:
    with tempfile.TemporaryDirectory() as name, own_memory() as memory:
        directory = Path(name)
        (directory / "vault").mkdir()
        vault = vaults.run(directory / "vault")
        try:
            bench = Bench(directory, memory, vault)
            found: dict[str, Any] = {"first_run": bench.play(), "next_run": bench.play()}
            both = (found["first_run"], found["next_run"])
            kept = sum(run["cache_hits_percent"] * run["lookups"] for run in both) / sum(run["lookups"] for run in both)
            found["cache_hits_percent_of_both"] = round(kept, 1)
            bench.flush()
            cached = bench.keeper("run-0-0-cached")
            cached.read(NAMES[0], "password")
            found["read_from_cache_ms"] = median_ms(lambda: cached.read(NAMES[0], "password"))
            found["read_from_local_store_ms"] = median_ms(lambda: bench.store.read(NAMES[1]))
            bench.flush()
            found["refused"] = bench.failover("run-0-0-refused", url=f"https://127.0.0.1:{vaults.free_port()}")
            vault.cut_off()
            bench.flush()
            found["hanging"] = {**bench.failover("run-0-0-hanging"), "timeout_ms": TIMEOUT_SECONDS * 1000}
            vault.go_on()
            bench.flush()
            vault.seal()
            found["sealed"] = bench.failover("run-0-0-sealed")
            print(json.dumps(found, indent=2))
        finally:
            vault.stop()


if __name__ == "__main__":
    main()

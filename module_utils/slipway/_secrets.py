# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lookup and the actions of secrets share: from Ansible's variables to a chain of providers.

Every worker that looks a secret up imports this, so it is kept small: what only actions need is in ``_secret_action.py``.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.utils.display import Display

from .base.clock import SystemClock
from .base.errors import Refusal
from .base.operator import deployer
from .secrets.access_log import AccessLog, Caller
from .secrets.ansible_vault import AnsibleVaultFile, NotDecrypted
from .secrets.aws import AwsSecretsManager
from .secrets.candidate import Candidate
from .secrets.env_file import EnvFile, require_plain_allowed
from .secrets.keeper import Keeper
from .secrets.local_store import LocalStore
from .secrets.login import Logins
from .secrets.provider import Provider
from .secrets.release_credentials import ReleaseCredentials, parse
from .secrets.secret_settings import MODES, NAMES, ProviderSettings, SecretSettings
from .secrets.store_key import load_key, take_from_environment
from .secrets.vault import Vault
from .secrets.volatile import NotVolatile, Volatile, hashed, open_volatile, this_run

MODE_VARIABLE = "SECRETS_MODE"
LOG_NAME = "access.jsonl"
# Set by playbooks/rotate_secrets.yml for the plays that hand out what it has made.
ROTATING = "__secret_rotating"

display = Display()
take_from_environment()  # where this is loaded before the workers are forked, none of them or of their children has it


def settings_of(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> SecretSettings:
    """The settings in ``secrets_*`` variables, templates in them filled in."""
    return SecretSettings.parse({name: plain(template(variables[name])) for name in NAMES if name in variables})


def plain(value: Any) -> Any:
    """A value without what Ansible notes on it, such as where it came from: its numbers are of a class of their own."""
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    return next((kind(value) for kind in (str, int, float) if isinstance(value, kind)), value)


def access_log(variables: Mapping[str, Any], template: Callable[[Any], Any], loader: Any) -> AccessLog:
    """The access log of this controller, or of all that share a database."""
    path = Path(template(variables["slipway_state_directory"])) / LOG_NAME
    if not template(variables.get("slipway_state_url", "")):
        return AccessLog(path)
    from ._state import state_place
    from .controller.access_table import AccessTable

    return AccessTable(path, place=state_place(variables, template, loader), announce=display.warning)


def caller_of(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> Caller:
    """Who runs this, for which environment and host."""
    return Caller(
        by=deployer(variables), run_id=run_id(main_process()), environment=environment_of(variables, template),
        host=str(variables.get("inventory_hostname", "")),
    )  # fmt: skip


def environment_of(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> str:
    return str(template(variables.get("slipway_environment", "")) or "")


def keeper_of(
    variables: Mapping[str, Any], template: Callable[[Any], Any], loader: Any, log: AccessLog | None = None
) -> Keeper:
    """The chain that these variables describe, asked on behalf of whoever runs this; noted in ``log``, or where it is noted else."""
    settings = settings_of(variables, template)
    environment = environment_of(variables, template)
    main = main_process()
    place = volatile_place(settings, main)
    clock = SystemClock()
    logins = Logins(place, clock)
    return Keeper(
        settings=settings,
        providers=[_provider(each, settings, environment, logins, loader, lacking=_lacking(variables)) for each in settings.chain],
        place=place,
        log=log or access_log(variables, template, loader),
        caller=caller_of(variables, template),
        clock=clock,
        announce=display.warning,
        rotating=_rotating(template(variables.get(ROTATING)) or {}),
    )  # fmt: skip


def _lacking(variables: Mapping[str, Any]) -> Callable[[str], Refusal] | None:
    """What is said in a job of AWX that came without what it logs in with; None elsewhere."""
    if not any(f"{prefix}_job_id" in variables for prefix in ("awx", "tower")):
        return None
    from .controller.job import Job, without_approle

    job = Job.of(variables)
    return partial(without_approle, job) if job else None


def _rotating(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Candidate]:
    """What the run rotates, as slipway_secret_rotation has answered it."""
    return {
        str(name): Candidate(str(about["version"]), str(about["rotation"])) for name, about in given.items()
    }  # fmt: skip


def require_options(given: Collection[str], known: Collection[str]) -> None:
    """Refuse options that the lookup does not have. Ansible leaves them out, and a mistyped version would be the newest one."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise Refusal(
            "lookup_option_unknown",
            expected=f"no options of slipway_secret but {', '.join(sorted(known))}",
            found=", ".join(unknown),
            remedy="Correct the lookup.",
        )


def release_credentials(
    given: Any, variables: Mapping[str, Any], template: Callable[[Any], Any], loader: Any
) -> ReleaseCredentials:
    """The credentials that the service of a release is to get, by the chain of the host with these variables."""
    return ReleaseCredentials(keeper_of(variables, template, loader), parse(plain(given)))


def main_process() -> int:
    """The process of which all workers of this run are forks."""
    parent = multiprocessing.parent_process()
    return os.getpid() if parent is None or parent.pid is None else parent.pid


def run_id(main: int) -> str:
    """A name for this run of Ansible: all its processes have the same, no other run has it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"ansible-{hashed(boot, this_run(main))[:16]}"


def volatile_place(settings: SecretSettings, main: int) -> Volatile | None:
    """Where processes share what they read; None, said aloud, where there is no memory that only this user can read."""
    try:
        place = open_volatile(os.environ, this_run(main), swap_accepted=settings.swap_accepted)
    except NotVolatile as error:
        display.warning(
            f"secrets are not cached and every process logs in for itself, since there is no memory for them alone: {error}. "
            "docs/howto/secrets.md says what to do"
        )
        return None
    if place.passed_over:
        display.warning(f"secrets are cached in {place.directory}, and not in {place.passed_over}")
    return place


def _provider(
    about: ProviderSettings,
    settings: SecretSettings,
    environment: str,
    logins: Logins,
    loader: Any,
    *,
    lacking: Callable[[str], Refusal] | None,
) -> Provider:
    if about.vault:
        return Vault(about.label, about.vault, logins, lacking)
    if about.aws:
        return AwsSecretsManager(about.label, about.aws)
    file = about.file
    assert file is not None  # noqa: S101 - for the type checker; a provider is one of the three
    if about.type == "ansible_vault":
        return AnsibleVaultFile(about.label, file.path, decrypting(loader))
    if about.type == "env":
        if env_mode(about.label, file.mode) == "plain":
            require_plain_allowed(about.label, environment)
            return EnvFile(about.label, file.path, settings.declared, environment)
        return LocalStore(about.label, file.store or file.path, lambda: load_key(file.key_path))
    return LocalStore(about.label, file.path, lambda: load_key(file.key_path))


def env_mode(label: str, said: str | None) -> str:
    """plain or encrypted: as ``SECRETS_MODE`` says, else as the settings do."""
    mode = os.environ.get(MODE_VARIABLE) or said or "encrypted"
    if mode not in MODES:
        raise Refusal(
            "secrets_mode_invalid",
            expected=f"{MODE_VARIABLE}=plain or {MODE_VARIABLE}=encrypted for {label}",
            found="another value",
            remedy=f"Correct {MODE_VARIABLE}, or leave it out.",
        )
    return mode


def decrypting(loader: Any) -> Callable[[bytes], bytes]:
    """How Ansible decrypts with the passwords of this run."""

    def decrypt(data: bytes) -> bytes:
        try:
            return bytes(loader._vault.decrypt(data))
        except AnsibleError:  # no password, or none that fits
            raise NotDecrypted from None

    return decrypt

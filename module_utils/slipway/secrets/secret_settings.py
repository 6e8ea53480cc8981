# SPDX-License-Identifier: GPL-3.0-or-later
"""What group_vars say of secrets: which providers there are, in which order they are asked, and which secrets are needed.

Nothing in it is a secret: names, addresses and paths. A value where a path belongs has no key to stand under.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal
from ..base.fields import ONE_LINE, Fields
from .aws import AwsSettings
from .circuit_breaker import FAILURES, RECOVERY_SECONDS
from .env_file import Declared
from .rotation_policy import RotationPolicy, rotation_policies
from .secret import FIELD, VARIABLE, require_name
from .secret_kind import KINDS
from .vault import METHODS, VaultSettings

REASON: Final = "secrets_settings_invalid"
REMEDY: Final = "Correct it in group_vars; docs/howto/secrets.md has every key."
LABEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,30}\Z")
CACHE_SECONDS: Final = 300
TIMEOUT_SECONDS: Final = 5
TYPES: Final = ("ansible_vault", "aws", "env", "local", "vault")
MODES: Final = ("plain", "encrypted")
_URL: Final = re.compile(r"https://[A-Za-z0-9.\[\]:-]+(/[\w./-]*)?\Z")
_LOCAL_URL: Final = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/?\Z")
_PATH: Final = re.compile(r"[^\x00-\x1f\x7f]{1,4096}\Z")
_WORDS: Final = re.compile(r"[\w./@+=:-]{0,512}\Z")
_WORD: Final = re.compile(r"[\w./@+=:-]{1,512}\Z")


@dataclass(frozen=True)
class FileSettings:
    """A provider that is a file: of ansible-vault, an encrypted store, or a `.env` file with its encrypted form (``store``)."""

    path: Path
    key_path: Path | None = None
    store: Path | None = None
    mode: str | None = None


@dataclass(frozen=True)
class ProviderSettings:
    label: str
    type: str
    vault: VaultSettings | None = None
    aws: AwsSettings | None = None
    file: FileSettings | None = None


@dataclass(frozen=True)
class SecretSettings:
    """All of it, checked. ``chain`` has the providers in their order."""

    chain: tuple[ProviderSettings, ...]
    declared: tuple[Declared, ...] = ()
    cache_seconds: int = CACHE_SECONDS
    breaker_failures: int = FAILURES
    breaker_seconds: int = RECOVERY_SECONDS
    swap_accepted: bool = False
    rotation: tuple[RotationPolicy, ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> SecretSettings:
        """Read ``secrets_*`` variables; every provider is read, also one that this chain does not name."""
        fields = Fields(dict(given), "the variables", REASON, REMEDY)
        seconds = _whole(fields, "secrets_timeout_seconds", TIMEOUT_SECONDS, minimum=1, maximum=120)
        table = fields.table("secrets_providers", LABEL, maximum=32) if "secrets_providers" in fields else {}
        providers = {label: _provider(label, about, seconds) for label, about in table.items()}
        chain = fields.array("secrets_chain", maximum=8) if "secrets_chain" in fields else []
        if not chain:
            raise fields.refusal("secrets_chain", "at least one name of secrets_providers", chain)
        for label in chain:
            if not isinstance(label, str) or label not in providers:
                raise fields.refusal("secrets_chain", f"names of secrets_providers ({', '.join(providers)})", label)
        if len(set(chain)) != len(chain):
            raise fields.refusal("secrets_chain", "each provider once", chain)
        declared = _declared(fields.object("secrets_declared")) if "secrets_declared" in fields else ()
        rotation = (
            rotation_policies(fields.object("secrets_rotation"), declared) if "secrets_rotation" in fields else ()
        )
        settings = cls(
            chain=tuple(providers[label] for label in chain),
            declared=declared,
            cache_seconds=_whole(fields, "secrets_cache_seconds", CACHE_SECONDS, minimum=0, maximum=86400),
            breaker_failures=_whole(fields, "secrets_breaker_failures", FAILURES, minimum=1, maximum=100),
            breaker_seconds=_whole(fields, "secrets_breaker_seconds", RECOVERY_SECONDS, minimum=1, maximum=3600),
            swap_accepted=fields.boolean("secrets_swap_accepted") if "secrets_swap_accepted" in fields else False,
            rotation=rotation,
        )
        fields.end()
        return settings

    def store(self) -> ProviderSettings:
        """The encrypted store of this chain: what is filled and rekeyed."""
        for provider in self.chain:
            if provider.file and provider.type in ("local", "env"):
                return provider
        raise Refusal(
            "secret_store_undeclared",
            expected="a provider of type local in secrets_chain",
            found=", ".join(f"{each.label} ({each.type})" for each in self.chain),
            remedy="Add one to secrets_providers and secrets_chain, or say -e secret_environment= for an environment that has one.",
        )


NAMES: Final = (
    "secrets_breaker_failures", "secrets_breaker_seconds", "secrets_cache_seconds", "secrets_chain", "secrets_declared",
    "secrets_providers", "secrets_rotation", "secrets_swap_accepted", "secrets_timeout_seconds",
)  # fmt: skip


def _whole(fields: Fields, name: str, default: int, *, minimum: int, maximum: int) -> int:
    return fields.integer(name, minimum=minimum, maximum=maximum) if name in fields else default


def _provider(label: str, fields: Fields, seconds: int) -> ProviderSettings:
    kind = fields.choice("type", *TYPES)
    if kind == "vault":
        provider = ProviderSettings(label, kind, vault=_vault(fields, seconds))
    elif kind == "aws":
        provider = ProviderSettings(label, kind, aws=_aws(fields, seconds))
    else:
        provider = ProviderSettings(label, kind, file=_file(kind, fields))
    fields.end()
    return provider


def _vault(fields: Fields, seconds: int) -> VaultSettings:
    auth = fields.choice("auth", *METHODS)
    needed = {"approle": ("role_id_path",), "jwt": ("jwt_path", "role"), "token": ("token_path",)}[auth]
    possible = {"approle": ("secret_id_path", "auth_mount"), "jwt": ("auth_mount",), "token": ()}[auth]
    said: dict[str, Any] = {}
    for name in (*needed, *(name for name in possible if name in fields)):
        said[name] = _path(fields, name) if name.endswith("_path") else fields.text(name, _WORD)
    return VaultSettings(
        url=_url(fields, "url"), auth=auth, ca_path=_path(fields, "ca_path") if "ca_path" in fields else None,
        namespace=_words(fields, "namespace", ""), mount=_words(fields, "mount", "secret"), prefix=_words(fields, "prefix", "").strip("/"),
        timeout_seconds=float(seconds), **said,
    )  # fmt: skip


def _aws(fields: Fields, seconds: int) -> AwsSettings:
    return AwsSettings(
        region=fields.text("region", _WORD), prefix=_words(fields, "prefix", ""), profile=_words(fields, "profile", ""),
        endpoint_url=_url(fields, "endpoint_url") if "endpoint_url" in fields else "", timeout_seconds=float(seconds),
    )  # fmt: skip


def _file(kind: str, fields: Fields) -> FileSettings:
    path = _path(fields, "path")
    if kind == "ansible_vault":
        return FileSettings(path)
    key_path = _path(fields, "key_path") if "key_path" in fields else None
    if kind == "local":
        return FileSettings(path, key_path)
    mode = fields.choice("mode", *MODES) if "mode" in fields else None
    return FileSettings(
        path, key_path, _path(fields, "store") if "store" in fields else path.with_name("secrets.enc"), mode
    )


def _words(fields: Fields, name: str, default: str) -> str:
    return fields.text(name, _WORDS) if name in fields else default


def _path(fields: Fields, name: str) -> Path:
    path = Path(fields.text(name, _PATH)).expanduser()
    if not path.is_absolute():
        raise fields.refusal(name, "a path that begins at / or ~, such as {{ slipway_root }}/…", str(path))
    return path


def _url(fields: Fields, name: str) -> str:
    value = fields.take(name)
    if not isinstance(value, str) or not (_URL.match(value) or _LOCAL_URL.match(value)):
        raise fields.refusal(
            name, "an https address without user, password or query (http only to this machine)", value
        )
    return value.rstrip("/")


def _declared(fields: Fields) -> tuple[Declared, ...]:
    found = []
    owners: dict[str, str] = {}
    for name in fields.names():
        try:
            require_name(name)
        except Refusal as refusal:
            raise fields.refusal(name, refusal.expected, name) from None
        about = fields.object(name)
        kind = about.choice("type", *KINDS) if "type" in about else None
        text = about.text("description", ONE_LINE) if "description" in about else ""
        variables = _variables(about, kind) if "variables" in about else {}
        about.end()
        declared = Declared(name, kind, text, variables)
        for field_name in declared.known_fields():
            variable = declared.variable(field_name)
            if variable in owners:
                raise fields.refusal(name, f"variables of its own; {variable} is one of {owners[variable]}", variable)
            owners[variable] = name
        found.append(declared)
    return tuple(found)


def _variables(about: Fields, kind: str | None) -> dict[str, str]:
    table = about.object("variables")
    variables = {name: table.text(name, VARIABLE) for name in table.keys_like(FIELD, maximum=32)}
    unknown = sorted(set(variables) - set(KINDS[kind])) if kind else []
    if unknown:
        raise about.refusal("variables", f"fields of the type {kind}: {', '.join(KINDS[kind or ''])}", unknown)
    return variables

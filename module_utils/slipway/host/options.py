# SPDX-License-Identifier: GPL-3.0-or-later
"""What each module of a host takes, and the request that it makes of it: the same for every door.

A door is a way by which options reach a host: Ansible runs the module there, or its action plugin asks the resident package
that is there already (`base.frame`). Options are checked by one argument spec, before they travel or when they arrive.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .places import Host

Options = Mapping[str, Any]
Answer = dict[str, Any]
Requests = Callable[[Options], dict[str, Any]]


@dataclass(frozen=True)
class Module:
    """A module: its argument spec, and its request (without ``check``) for options that the spec has filled in."""

    argument_spec: Mapping[str, Mapping[str, Any]]
    request: Requests
    required_if: Sequence[tuple[str, str, tuple[str, ...]]] = ()
    answers: Callable[[Options, Requests, bool, Host | None], Answer] | None = None

    def answer(self, options: Options, check: bool, host: Host | None = None) -> Answer:
        """Do what the options ask for, or in check mode say what that would do."""
        expanded = self._expanded(options)
        if self.answers:
            return self.answers(expanded, self.request, check, host)
        return _handle({**self.request(expanded), "check": check}, host)

    def _expanded(self, options: Options) -> dict[str, Any]:
        """The options with ``~`` and variables in paths as they are on this host, as Ansible has it done where a module runs."""
        paths = [name for name, about in self.argument_spec.items() if about["type"] == "path" and options.get(name)]
        return {**options, **{name: os.path.expanduser(os.path.expandvars(options[name])) for name in paths}}


def _handle(request: dict[str, Any], host: Host | None) -> Answer:
    from . import handler  # not above: a controller reads what modules take, and handles nothing

    return handler.handle(request, host)


def _about(options: Options) -> dict[str, Any]:
    return {"name": options["application"], "description": options["description"]}


def _inspect(options: Options) -> dict[str, Any]:
    keys = ("environment", "health", "manifest", "verify", "preflight", "plan", "credentials", "witnessed")
    return {"operation": "inspect", "application": _about(options), **{key: options[key] for key in keys}}


STATES: Final = {
    "staged": "stage",
    "active": "activate",
    "renewed": "renew",
    "ready": "make_ready",
    "confirmed": "confirm",
    "reverted": "revert",
    "recovered": "recover",
}
_RELEASE_KEYS: Final = (
    "environment", "run", "release_id", "pack", "rollback", "keep", "confirm_within_seconds", "forced", "takes_back", "retry", "share",
    "migrate", "migrated", "irreversible_accepted", "credentials", "credential_values", "generation", "credentials_replaced",
    "smoke_test_passed", "keep_count", "reason", "message", "approvals", "authorizations", "witnessed", "source", "source_ca", "source_credentials",
    "source_rate_limit",
)  # fmt: skip


def _release(options: Options) -> dict[str, Any]:
    request = {key: options[key] for key in _RELEASE_KEYS}
    request["operation"] = STATES[options["state"]]
    request["application"] = _about(options)
    if options["state"] == "renewed" and options["share"] is None:
        del request["share"]
    if options["expected_current"] is not None:
        request["expected_current"] = options["expected_current"] or None
    return request


def _history(options: Options) -> dict[str, Any]:
    keys = ("limit", "witnessed")
    return {
        "operation": "history", "application": {"name": options["application"]}, **{key: options[key] for key in keys},
    }  # fmt: skip


def _proof(options: Options) -> dict[str, Any]:
    keys = ("run_id", "sizes", "witnessed")
    return {
        "operation": "proof", "application": {"name": options["application"]}, **{key: options[key] for key in keys},
    }  # fmt: skip


def _lock(options: Options) -> dict[str, Any]:
    keys = ("state", "environment", "message", "hours", "id", "holder")
    return {"operation": "lock", "application": {"name": options["application"]}, **{key: options[key] for key in keys}}


def _unit(options: Options) -> dict[str, Any]:
    limits = ("memory_max", "cpu_quota", "tasks_max", "stop_timeout_seconds")
    return {
        "operation": "write_unit", "application": _about(options), "limits": {name: options[name] for name in limits},
    }  # fmt: skip


def _rotation(options: Options) -> dict[str, Any]:
    return {"operation": "rotate_policy", "policies": options["policies"] or []}


def _plain(operation: str) -> Requests:
    """The request that has the options as they are."""
    return lambda options: {**options, "operation": operation}


def _integrity(options: Options) -> dict[str, Any]:
    """The request for one of the applications."""
    application = options["application"]
    witnessed = options["witnessed"].get(application) or {}
    return {
        "operation": "verify",
        "application": {"name": application},
        "environment": options["environment"],
        "bytes": options["bytes"],
        "witnessed": {"size": witnessed["size"]} if witnessed else None,
        "sizes": witnessed.get("sizes") or [],
    }


def _verify_each(options: Options, request: Requests, check: bool, host: Host | None) -> Answer:
    """All applications in one exchange."""
    answers = {
        name: _handle({**request({**options, "application": name}), "check": check}, host)
        for name in options["applications"]
    }
    hosts = [answer["host"] for answer in answers.values() if "host" in answer]
    return {"changed": False, "host": hosts[0] if hosts else None, "applications": answers}


MODULES: Final[Mapping[str, Module]] = {
    "slipway_application_info": Module(
        {
            "application": {"type": "str", "required": True},
            "description": {"type": "dict", "required": True},
            "environment": {"type": "str"},
            "health": {"type": "bool", "default": False},
            "manifest": {"type": "bool", "default": False},
            "verify": {"type": "bool", "default": False},
            "preflight": {"type": "bool", "default": False},
            "plan": {"type": "bool", "default": False},
            "credentials": {"type": "list", "elements": "str", "default": [], "no_log": False},  # names
            "witnessed": {"type": "dict"},
        },
        _inspect,
    ),
    "slipway_balancer": Module(
        {
            "backend": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "ready"], "required": True},
            "weight": {"type": "int"},
            "drain_seconds": {"type": "int", "default": 30},
            "socket": {"type": "path", "default": "/run/haproxy/admin.sock"},
        },
        _plain("balance"),
    ),
    "slipway_balancer_configuration": Module(
        {
            "applications": {"type": "dict", "required": True},
            "timeout_seconds": {"type": "int", "required": True},
        },
        _plain("write_balancer"),
    ),
    "slipway_failover": Module(
        {
            "backend": {"type": "str", "required": True},
            "out": {"type": "list", "elements": "str", "default": []},
            "admitted": {"type": "list", "elements": "str", "default": []},
            "healthy_min": {"type": "int", "default": 1},
            "drain_seconds": {"type": "int", "default": 30},
            "socket": {"type": "path", "default": "/run/haproxy/admin.sock"},
        },
        _plain("fail_over"),
    ),
    "slipway_history_info": Module(
        {
            "application": {"type": "str", "required": True},
            "limit": {"type": "int", "default": 10},
            "witnessed": {"type": "dict"},
        },
        _history,
    ),
    "slipway_host": Module(
        {
            "name": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "trust_policy": {"type": "str", "required": True},
            "resident": {"type": "path"},
        },
        _plain("bootstrap"),
    ),
    "slipway_integrity_info": Module(
        {
            "applications": {"type": "list", "elements": "str", "required": True},
            "environment": {"type": "str"},
            "bytes": {"type": "bool", "default": True},
            "accept": {"type": "bool", "default": False},
            "witnessed": {"type": "dict", "default": {}},
        },
        _integrity,
        answers=_verify_each,
    ),
    "slipway_lock": Module(
        {
            "state": {"type": "str", "choices": ["shown", "taken", "released"], "default": "shown"},
            "application": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "message": {"type": "str"},
            "hours": {"type": "float"},
            "id": {"type": "str"},
            "holder": {"type": "str"},
        },
        _lock,
        required_if=[("state", "taken", ("message",))],
    ),
    "slipway_proof_info": Module(
        {
            "application": {"type": "str", "required": True},
            "run_id": {"type": "str", "required": True},
            "sizes": {"type": "list", "elements": "int", "default": []},
            "witnessed": {"type": "dict"},
        },
        _proof,
    ),
    "slipway_release": Module(
        {
            "state": {"type": "str", "required": True, "choices": list(STATES)},
            "application": {"type": "str", "required": True},
            "description": {"type": "dict", "required": True},
            "environment": {"type": "str", "required": True},
            "run": {"type": "dict", "required": True},
            "release_id": {"type": "str"},
            "catalogue": {"type": "path"},
            "present": {"type": "list", "elements": "dict", "default": []},
            "resident_digest": {"type": "str"},
            "balancers": {"type": "raw", "default": []},
            "pack": {"type": "path"},
            "source": {"type": "list", "elements": "str", "default": []},
            "source_ca": {"type": "str", "default": ""},
            "source_credentials": {"type": "dict", "default": {}, "no_log": True},
            "source_rate_limit": {"type": "int", "default": 0},
            "approvals": {"type": "list", "elements": "str", "default": []},
            "authorizations": {"type": "list", "elements": "str", "default": []},
            "expected_current": {"type": "str"},
            "rollback": {"type": "bool", "default": False},
            "keep": {"type": "bool", "default": False},
            "confirm_within_seconds": {"type": "int", "default": 900},
            "forced": {"type": "bool", "default": False},
            "takes_back": {"type": "str"},
            "retry": {"type": "bool", "default": False},
            "share": {"type": "int"},
            "migrate": {"type": "bool", "default": False},
            "migrated": {"type": "bool", "default": False},
            "irreversible_accepted": {"type": "bool", "default": False},
            "credentials": {"type": "dict", "no_log": False},  # names and versions; the values are the next one
            "credential_values": {"type": "str", "no_log": True},
            "generation": {"type": "str"},
            "credentials_replaced": {"type": "bool", "default": False, "no_log": False},
            "smoke_test_passed": {"type": "bool"},
            "keep_count": {"type": "int", "default": 5},
            "reason": {"type": "str", "default": "taken_back"},
            "message": {"type": "str", "default": "taken back by its own run"},
            "witnessed": {"type": "dict"},
        },
        _release,
        required_if=[("state", state, ("release_id",)) for state in STATES if state != "recovered"],
    ),
    "slipway_trust_rotation": Module(
        {
            "trust_policy": {"type": "path", "required": True},
            "policies": {"type": "list", "elements": "str"},
        },
        _rotation,
    ),
    "slipway_unit": Module(
        {
            "application": {"type": "str", "required": True},
            "description": {"type": "dict", "required": True},
            "memory_max": {"type": "str", "required": True},
            "cpu_quota": {"type": "str", "required": True},
            "tasks_max": {"type": "int", "required": True},
            "stop_timeout_seconds": {"type": "int", "required": True},
        },
        _unit,
    ),
}

# SPDX-License-Identifier: GPL-3.0-or-later
"""One door into the domain on a host: a request of plain data goes in, an answer of plain data comes out.

Modules call it, and whatever else speaks to a host later calls the same function with the same request.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..base.errors import Refusal
from . import (
    balancer,
    balancer_file,
    bootstrap,
    integrity,
    lock,
    release,
    server_group,
    staging,
    status,
    trust_update,
    unit_file,
)
from .places import Host

Operation = Callable[..., dict[str, Any]]

OPERATIONS: Mapping[str, Operation] = {
    "inspect": status.inspect,
    "history": status.history,
    "stage": staging.stage,
    "activate": release.activate,
    "make_ready": release.make_ready,
    "renew": release.renew,
    "confirm": release.confirm,
    "revert": release.revert,
    "recover": release.recover,
    "lock": lock.lock,
    "verify": integrity.verify,
    "proof": integrity.prove,
    "bootstrap": bootstrap.bootstrap,
    "rotate_policy": trust_update.rotate_policy,
    "write_unit": unit_file.write,
    "write_balancer": balancer_file.write,
    "balance": balancer.balance,
    "fail_over": server_group.fail_over,
}


def handle(request: Mapping[str, Any], host: Host | None = None) -> dict[str, Any]:
    """Answer ``request`` = {operation, check (default false), …the operation's own keys}.

    Returns the operation's answer. A Refusal comes back as {failed: true, changed: false, msg, reason, expected, found, remedy}.
    So does an error of the operating system that nothing below has dealt with, but as ``changed``: what was open then,
    the next exchange settles.
    """
    operation = OPERATIONS[request["operation"]]
    os.umask(0o022)  # the modes below are what they say, whatever umask the login shell has
    try:
        return operation(request, host or Host(), check=bool(request.get("check")))
    except Refusal as refusal:
        return {"failed": True, "changed": False, "msg": str(refusal), **refusal.as_dict()}
    except OSError as error:
        failure = Refusal(
            "disk_full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "file_system_read_only"
            if error.errno == errno.EROFS
            else "host_error",
            expected=f"to finish {request['operation']} on this host",
            found=str(error),
            remedy="Mend the host, then run the same command again: it settles what is open first.",
        )
        return {"failed": True, "changed": True, "msg": str(failure), **failure.as_dict()}

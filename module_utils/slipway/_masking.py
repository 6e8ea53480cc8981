# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Ansible lets something out, values that this run has handed out are masked: what is displayed and logged, what callbacks are given, names of
tasks, what set_stats keeps.

ansible-runner brings callbacks of its own, which write files beside what they print: so it is not done in a callback, but before all of them. Ansible has no
place for that, so three of its methods are wrapped; a test with each version says whether they are still the ones, and a run without them says that
it does without (docs/adr/0029-leaks-and-policies.md).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from ansible.executor.stats import AggregateStats
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.executor.task_result import CallbackTaskResult, _RawTaskResult
from ansible.playbook.task import Task
from ansible.utils.display import Display

from .secrets.known_values import Listener
from .secrets.redaction import Redactor
from .secrets.volatile import this_run

INSTALLED = "slipway_redacts"


def install(main: int) -> None:
    """From now on, in this process and its forks; ``main`` is the process of which all workers are forks."""
    listener = Listener(os.environ, this_run(main))
    for owner, name, wrap in (
        (Display, "display", _displayed),
        (_RawTaskResult, "as_callback_task_result", _answered),
        (TaskQueueManager, "send_callback", _called_back),
    ):
        original = getattr(owner, name)
        if not hasattr(original, INSTALLED):
            wrapped = functools.wraps(original)(wrap(original, listener.redactor))
            setattr(wrapped, INSTALLED, True)
            setattr(owner, name, wrapped)


def _displayed(original: Callable[..., Any], redactor: Callable[[], Redactor]) -> Callable[..., Any]:
    def display(self: Display, msg: str, *words: Any, **how: Any) -> Any:
        return original(self, redactor().text(msg) if isinstance(msg, str) else msg, *words, **how)

    return display


def _answered(original: Callable[..., Any], redactor: Callable[[], Redactor]) -> Callable[..., Any]:
    def as_callback_task_result(self: Any) -> Any:
        given = original(self)
        masked = redactor().data(given._return_data)
        fields = redactor().data(given.task_fields)
        if masked is given._return_data and fields is given.task_fields:
            return given
        return CallbackTaskResult(given.host, given.task, masked, fields)

    return as_callback_task_result


def _called_back(original: Callable[..., Any], redactor: Callable[[], Redactor]) -> Callable[..., Any]:
    def send_callback(self: Any, method_name: str, *args: Any, **kwargs: Any) -> Any:
        said = [(task, task.name) for task in args if isinstance(task, Task)]
        kept = [(stats, stats.custom) for stats in args if isinstance(stats, AggregateStats)]
        for task, name in said:
            task.name = redactor().text(str(name)) if name else name
        for stats, custom in kept:
            stats.custom = redactor().data(custom)
        try:
            return original(self, method_name, *args, **kwargs)
        finally:
            for task, name in said:
                task.name = name
            for stats, custom in kept:
                stats.custom = custom

    return send_callback

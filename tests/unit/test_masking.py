# SPDX-License-Identifier: GPL-3.0-or-later
"""Masking in this version of Ansible: what is displayed, what callbacks get and what tasks are called, and only where something was handed out.

In a process of its own, since Ansible stays wrapped. Real runs are in tests/e2e/test_leaks.py.
"""

from __future__ import annotations

import subprocess
import sys

import repository
from safes import CANARY

BEGIN = f"""
import os, sys, threading
import ansible.module_utils
ansible.module_utils.__path__.append({str(repository.ROOT / "module_utils")!r})
from ansible.executor.stats import AggregateStats
from ansible.executor.task_queue_manager import TaskQueueManager
from ansible.executor.task_result import _RawTaskResult
from ansible.inventory.host import Host
from ansible.module_utils.slipway import _masking
from ansible.module_utils.slipway.secrets import known_values
from ansible.playbook.task import Task
from ansible.utils.display import Display
value = {CANARY!r}
before = Display.display, _RawTaskResult.as_callback_task_result, TaskQueueManager.send_callback
_masking.install(os.getpid())
_masking.install(os.getpid())
after = Display.display, _RawTaskResult.as_callback_task_result, TaskQueueManager.send_callback
assert all(new is not old and new.__wrapped__ is old for old, new in zip(before, after)), "wrapped once"
display, task = Display(), Task()
task.name = f"use {{value}}"
result = _RawTaskResult(Host("h"), task, {{"stdout": value, "changed": True}}, {{"name": task.name, "args": {{"a": value}}}})
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_before_something_is_handed_out_everything_is_as_it_was():
    said = python("""
same = result.as_callback_task_result()
assert same.result == {"stdout": value, "changed": True} and same.task_fields["args"] == {"a": value}
display.display(value)
""")
    assert CANARY in said


def test_from_then_on_it_is_masked_in_output_answers_and_names():
    said = python("""
known_values.HERE.add([value])
display.display(f"a {value} b")
display.warning(f"c {value} d")
masked = result.as_callback_task_result()
assert masked.result == {"stdout": "********", "changed": True}, masked.result
assert masked.task_fields == {"name": "use ********", "args": {"a": "********"}}, masked.task_fields
assert result._return_data["stdout"] == value, "tasks go on with it"
seen = []
class Callback:
    disabled, wants_implicit_tasks = False, True
    _implemented_callback_methods = ("v2_playbook_on_task_start", "v2_playbook_on_stats")
    def v2_playbook_on_task_start(self, task, is_conditional):
        seen.append(task.name)
    def v2_playbook_on_stats(self, stats):
        seen.append(stats.custom)
manager = TaskQueueManager.__new__(TaskQueueManager)
manager._callback_plugins, manager._callback_lock = [Callback()], threading.RLock()
manager.send_callback("v2_playbook_on_task_start", task, is_conditional=False)
assert seen == ["use ********"], seen
assert task.name == f"use {value}"
stats = AggregateStats()
stats.custom = {"_run": {"kept": value}}
manager.send_callback("v2_playbook_on_stats", stats)
assert seen[1:] == [{"_run": {"kept": "********"}}], seen
assert stats.custom == {"_run": {"kept": value}}
""")
    assert CANARY not in said
    assert "a ******** b" in said
    assert "c ******** d" in said

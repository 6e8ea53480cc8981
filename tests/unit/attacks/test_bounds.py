# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile input costs bounded time and memory, and nothing that is no regular file makes the verifier wait.

Each case runs in a process of its own that counts its processor time and its memory from when the verifier is loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.files import read_regular
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.trust import dsse, verify
from ansible.module_utils.slipway.trust.policy import read_policy
from attacks import MANIFEST, bent, members
from test_file_lines import bind, device

MEBIBYTE = 1 << 20
SECONDS = 1.0
BYTES = 200 << 20

PROGRAM = """
import resource, sys, time
sys.path.insert(0, sys.argv[1])
from slipway.base.errors import Refusal
from slipway.trust import verify
from slipway.trust.policy import TrustPolicy
policy = TrustPolicy.parse(open(sys.argv[2], "rb").read())
hostile = open(sys.argv[3], "rb").read()
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
began = time.process_time()
try:
    verify.verify_manifest(policy, hostile, application="hello", environment="prod", now=None)
    said = "accepted"
except Refusal as refusal:
    said = refusal.reason
    assert len(str(refusal)) < 4096
spent = time.process_time() - began
most = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))  # ru_maxrss is the parent's too
print(said, spent, int(most.split()[1]) * 1024)
"""


def filled(start, piece, end):
    """A document of just under a mebibyte made of as many pieces as fit."""
    room = MEBIBYTE - len(start) - len(end)
    return start + piece * (room // len(piece)) + end


def payload(start, piece, end):
    """A signed payload whose envelope is just under a mebibyte."""
    room = MEBIBYTE * 3 // 4 - 1024
    return signed.sign(start + piece * ((room - len(start) - len(end)) // len(piece)) + end)


def keys(count):
    return b"{" + b",".join(b'"k%d":0' % number for number in range(count)) + b"}"


SIGNATURE = json.dumps(members()["signatures"][0]).encode()
WHOLE = json.dumps(members()).encode()
HOSTILE = {
    "deep arrays": filled(b"", b"[", b""),
    "deep arrays that close": b"[" * (MEBIBYTE // 2) + b"]" * (MEBIBYTE // 2),
    "deep objects": filled(b"", b'{"a":', b""),
    "deep objects of a sound length": filled(WHOLE[:-1] + b',"x":', b"[", b"]" * 40 + b"}"),
    "many shallow nestings": filled(WHOLE[:-1] + b',"x":[', b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],", b"0]}"),
    "empty objects": filled(WHOLE[:-1] + b',"x":[', b"{},", b"0]}"),
    "a million signatures that are none": filled(b'{"payloadType":"application/vnd.in-toto+json","payload":"","signatures":[', b"0,", b"0]}"),
    "as many signatures as fit": filled(WHOLE.partition(b'"signatures": [')[0] + b'"signatures":[', SIGNATURE + b",", SIGNATURE + b"]}"),
    "sixteen signatures by nobody": bent(signatures=[{"keyid": "", "sig": "A" * 86 + "=="}] * 16),
    "a huge integer": filled(WHOLE[:-1] + b',"x":', b"9", b"}"),
    "a huge negative exponent": filled(WHOLE[:-1] + b',"x":1e-', b"9", b"}"),
    "many integers": filled(WHOLE[:-1] + b',"x":[', b"9007199254740991,", b"0]}"),
    "a long string": filled(WHOLE[:-1] + b',"x":"', b"x", b'"}'),
    "a long string without an end": filled(WHOLE[:-1] + b',"x":"', b"x", b""),
    "a long key id": bent(signatures=[{**members()["signatures"][0], "keyid": "x" * (MEBIBYTE - 4096)}]),
    "many keys": WHOLE[:-1] + b',"x":' + keys(70_000) + b"}",
    "many equal keys": filled(WHOLE[:-1] + b',"x":{', b'"a":0,', b'"a":0}}'),
    "many objects with other keys": WHOLE[:-1] + b',"x":[' + b",".join(b'{"%d":0}' % n for n in range(60_000)) + b"]}",
    "repeated escapes": filled(WHOLE[:-1] + b',"x":"', b"\\u0041", b'"}'),
    "surrogate pairs": filled(WHOLE[:-1] + b',"x":"', b"\\ud83d\\ude00", b'"}'),
    "backslashes": filled(WHOLE[:-1] + b',"x":"', b"\\\\", b'"}'),
    "white space": filled(b"", b" ", WHOLE),
    "base64 of nothing": bent(payload="A" * (MEBIBYTE - 4096)),
    "a payload of braces": payload(b"", b"{", b""),
    "a payload of empty strings": payload(b"[", b'"",', b'""]'),
    "a payload beyond the basic plane": payload(b'["', "\U0001f600".encode(), b'"]'),
    "members without end": payload(MANIFEST.partition(b'"members":[')[0] + b'"members":[', b"{},", b"{}]}"),
    "a path of dots": payload(MANIFEST.partition(b'"name":"hello"')[0] + b'"name":"', b"../", b'"}}'),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_mebibyte_costs_a_second_and_200_megabytes_at_most(name, tmp_path):
    data = HOSTILE[name]
    assert len(data) <= MEBIBYTE
    (tmp_path / "policy").write_bytes(signed.policy_envelope())
    (tmp_path / "hostile").write_bytes(data)
    domain = Path(verify.__file__).parents[2]
    command = [sys.executable, "-IB", "-c", PROGRAM, str(domain), str(tmp_path / "policy"), str(tmp_path / "hostile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    said, seconds, memory = done.stdout.split()
    assert float(seconds) < SECONDS
    assert int(memory) < BYTES
    assert said == "accepted" or said in (Path(__file__).parents[3] / "docs/reference/reasons.md").read_text()


DOORS = {
    "a policy": read_policy,
    "a manifest": lambda path: read_regular(path, limit=dsse.MAX_ENVELOPE_BYTES, what="manifest"),
    "a history": lambda path: History(path).records(),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("make", [os.mkfifo, bind, device, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(door, make, tmp_path):
    make(tmp_path / "x")
    with pytest.raises(Refusal, match="_not_regular"):
        DOORS[door](tmp_path / "x")

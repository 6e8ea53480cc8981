# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that people sign with: files, and keys of a real ssh-agent."""

from __future__ import annotations

import subprocess

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import signer
from ansible.module_utils.slipway.trust import dsse, keys
from ansible.module_utils.slipway.trust.keys import PublicKey


def refused(where, reason, **options):
    with pytest.raises(Refusal) as refusal:
        signer.open_key(where, **options)
    assert refusal.value.reason == reason
    return refusal.value


def test_a_path_is_a_key_in_a_file(tmp_path):
    made = keys.generate_private_key(tmp_path / "lead.pem", b"open sesame")
    opened = signer.open_key(str(tmp_path / "lead.pem"), b"open sesame")
    assert PublicKey.of(opened) == PublicKey.of(made)
    assert not signer.is_in_agent(str(tmp_path / "lead.pem"))


def test_the_only_key_of_an_agent_needs_no_name(agent):
    public = agent.add("lead")
    agent.add("old", kind="rsa")
    assert PublicKey.of(signer.open_key("agent")) == public
    assert signer.is_in_agent("agent")


def test_a_key_of_an_agent_is_named_by_comment_fingerprint_or_hex_digits(agent):
    public = agent.add("lead")
    agent.add("other")
    fingerprint = agent.command("ssh-keygen", "-l", "-f", "key-lead.pub").split()[1]
    for name in ("lead", fingerprint, public.hex):
        assert PublicKey.of(signer.open_key(f"agent:{name}")) == public
        assert signer.is_in_agent(f"agent:{name}")


def test_of_several_keys_the_one_that_the_policy_knows_is_taken(agent):
    agent.add("mine-at-home")
    public = agent.add("lead")
    assert PublicKey.of(signer.open_key("agent", among=[public])) == public
    found = refused("agent", "agent_key_unknown", among=[PublicKey.of(signed.LEAD_KEY)])
    assert "mine-at-home SHA256:" in found.found
    assert "that the trust policy knows" in found.expected


def test_a_signature_of_an_agent_is_one_of_openssl_and_of_the_format(agent, tmp_path):
    public = agent.add("lead")
    envelope = dsse.sign(dsse.IN_TOTO_TYPE, b"{}", signer.open_key("agent"))
    assert dsse.signers(envelope, [public]) == {public}
    (signature,) = envelope.signatures
    assert signature.keyid == public.keyid
    der = bytes.fromhex("302a300506032b6570032100") + public.raw  # RFC 8410
    (tmp_path / "public.der").write_bytes(der)
    (tmp_path / "message").write_bytes(dsse.pae(dsse.IN_TOTO_TYPE, b"{}"))
    (tmp_path / "signature").write_bytes(signature.value)
    subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "public.der", "-keyform", "DER", "-in", "message", "-sigfile", "signature"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip


def test_without_an_agent_it_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert refused("agent", "agent_missing").found == "none"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    assert refused("agent:lead", "agent_missing").found == "none"


def test_something_that_is_no_agent_is_said(monkeypatch, tmp_path):
    listener = subprocess.Popen(
        ["python3", "-c", "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint('listening', flush=True)\nc, _ = s.accept()\nc.recv(100)\nc.sendall(b'\\0\\0\\0\\1\\5')", str(tmp_path / "other")],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    listener.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "other"))
    assert "could not get keys" in refused("agent", "agent_missing").found
    listener.wait()
    listener.stdout.close()


def test_an_empty_agent_and_a_key_that_is_not_there_are_refused(agent):
    assert refused("agent", "agent_key_unknown").found == "none; there: no key"
    agent.add("other")
    found = refused("agent:lead", "agent_key_unknown")
    assert found.expected == "one key lead in the ssh-agent"
    assert "other SHA256:" in found.found


def test_two_keys_of_one_name_are_refused(agent):
    agent.add("lead")
    agent.command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lead", "-f", "another")
    agent.command("ssh-add", "-q", "another")
    assert refused("agent:lead", "agent_key_unknown").found.startswith("2; there: lead SHA256:")
    assert refused("agent", "agent_key_unknown").found.startswith("2; there: ")


def test_a_security_key_is_refused_since_it_signs_something_else(agent):
    agent.add_security_key("token")
    found = refused("agent:token", "agent_key_unfit")
    assert "sk-ssh-ed25519@openssh.com" in found.found
    assert "sign something else" in found.remedy
    assert "token" in refused("agent", "agent_key_unknown").found  # never chosen by itself, but named


def test_a_key_of_another_algorithm_is_refused(agent):
    agent.add("old", kind="rsa")
    assert refused("agent:old", "agent_key_unfit").found == "old: a key of the type ssh-rsa"


def test_an_agent_that_is_told_no_signs_nothing(agent):
    agent.add("careful", "-c")
    key = signer.open_key("agent:careful")
    with pytest.raises(Refusal) as refusal:
        key.sign(b"anything")
    assert refusal.value.reason == "agent_refused"
    assert "careful (SHA256:" in refusal.value.expected


def test_an_agent_that_is_gone_is_said(agent):
    agent.add("lead")
    key = signer.open_key("agent")
    agent.command("ssh-add", "-q", "-D")
    with pytest.raises(Refusal, match="agent_refused"):
        key.sign(b"anything")


def test_a_key_that_openssl_made_is_a_key(tmp_path):
    """As docs/howto/approve-a-release.md says to make one."""
    path = tmp_path / "risk.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-aes-256-cbc", "-pass", "pass:correct horse", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.chmod(0o600)
    assert keys.is_encrypted(path)
    key = signer.open_key(str(path), b"correct horse")
    assert dsse.sign(dsse.IN_TOTO_TYPE, b"{}", key).signatures
    refused(str(path), "key_invalid", passphrase=b"battery staple")

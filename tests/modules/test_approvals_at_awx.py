# SPDX-License-Identifier: GPL-3.0-or-later
"""From a release that a pipeline published to all of its approvals, by the buttons of AWX: its surveys, the real playbooks, a real catalogue."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import doors
import pytest
import repository
from ansible.module_utils.slipway.controller import awx_data
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust.verify import parse_manifest
from users import JOB, as_user

RAW = awx_data.read(repository.ROOT / "awx")
DATA = awx_data.judged(RAW, root=repository.ROOT, settings={}, notifications=[], secrets={})
TEMPLATES = {each.name: each.options for each in DATA.of("job_templates")}
APPLICATIONS = {"slipway_applications": {"shop": {"unit": "shop.service"}}}


class Button:
    """Job templates of awx/ at an AWX, whose jobs run here; ``catalogue`` is in the volume that they share."""

    def __init__(self, awx, office, volume, directory):
        self.awx, self.office, self.volume, self.directory = awx, office, volume, directory
        self.catalogue = Catalogue(volume / "catalogue")

    def launch(self, template, **answers):
        """AWX's answer to a launch: (code, content)."""
        number = self.awx.row("job_templates", template)["id"]
        body = json.dumps({"extra_vars": answers}).encode()
        return self.awx.answer("POST", f"/api/v2/job_templates/{number}/launch/", f"Bearer {self.awx.token}", body)

    def press(self, template, **answers):
        """Start it with these answers and run its job; returns (exit code, output in one line)."""
        code, content = self.launch(template, **answers)
        assert code == 201, content
        given = json.loads(self.awx.tables["jobs"][content["job"]]["extra_vars"])
        # As AWX writes what was answered: never a template.
        marked = [f"!unsafe {json.dumps(name)}: !unsafe {json.dumps(value)}\n" for name, value in given.items()]
        (self.directory / "extravars").write_text("".join(marked))
        return self.run(
            TEMPLATES[template]["playbook"], f"@{self.directory}/extravars", TEMPLATES[template]["extra_vars"]
        )

    def run(self, playbook, *given):
        places = {
            "slipway_state_directory": str(self.volume),
            "slipway_release_directory": str(self.volume / "release"),
            "trust_policy_path": str(self.office.policy),
        }
        words = [each if isinstance(each, str) else json.dumps(each) for each in (APPLICATIONS, *given, places)]
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", playbook]
        done = subprocess.run(
            [*command, *(word for each in words for word in ("-e", each))],
            cwd=repository.ROOT,
            env={**os.environ, "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(self.directory)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)

    def given(self):
        digest = parse_manifest(self.catalogue.manifest_bytes("shop", "v1")).digest
        return self.catalogue.approvals("shop", digest)


@pytest.fixture
def button(awx, office, volume, tmp_path):
    awx.load(DATA)
    return Button(awx, office, volume, tmp_path)


def signed_by(office, holder, path):
    """The text of the approval of this holder, who has the manifest alone."""
    given = office.approve(holder, catalogue=None, application=None, manifest=office.manifest, output=path)
    assert not given.get("failed"), given
    return path.read_text()


def test_a_release_that_a_pipeline_published_gets_its_approvals_by_buttons_alone(button, office, tmp_path):
    place = {"release_catalogue": str(office.catalogue), "release_store_path": str(button.catalogue.root)}
    code, output = button.run("playbooks/publish.yml", place)  # as root, as it is on the node
    assert code == 0, output

    code, output = button.press("Judge the approvals", release_id="v1")
    assert code != 0
    digest = parse_manifest(office.manifest.read_bytes()).digest
    assert f"to be signed: the manifest of v1 with the sha256 {digest}" in output
    assert (
        "make approve MANIFEST=v1.dsse.json ENVIRONMENT=prod ROLE=risk-manager KEY=… OUTPUT=v1.prod.risk-manager.json"
        in output
    )
    assert "approval_missing: expected v1 approved for prod: 1 engineering-lead, 1 risk-manager; found none" in output

    texts = {holder: signed_by(office, holder, tmp_path / f"{holder}.json") for holder in ("lead", "risk")}
    with as_user(*JOB):  # what root has published there is the jobs' own
        button.catalogue.add_approval(texts["risk"].encode(), check=False)
    code, output = button.press("Take an approval in", approval_text=f"\n {texts['lead']}\r\n")
    assert (code, "changed=1" in output) == (0, True), output
    assert button.given() == [texts["lead"].encode(), texts["risk"].encode()]

    code, output = button.press("Judge the approvals", release_id="v1")
    assert code == 0, output
    assert "to be signed" not in output


def test_what_is_no_approval_changes_nothing(button, office, tmp_path):
    shutil.copytree(office.catalogue, button.catalogue.root)
    text, canary = signed_by(office, "lead", tmp_path / "sent.json"), tmp_path / "evaluated"
    sig, other = json.loads(text)["signatures"][0]["sig"], base64.b64encode(bytes(64)).decode()
    for hostile, reason in (
        (f"{{{{ lookup('pipe', 'touch {canary}') }}}}", "variable_templated"),
        (text.replace(sig, other), "signature_unknown"),
    ):
        code, output = button.press("Take an approval in", approval_text=hostile)
        assert (code != 0, f"{reason}: expected " in output) == (True, True), output
        assert not canary.exists()
        assert button.given() == []


def test_what_is_too_long_or_empty_is_no_launch(button):
    for text in ("", "x" * 262145):
        code, content = button.launch("Take an approval in", approval_text=text)
        assert (code, list(content)) == (400, ["variables_needed_to_start"])


def test_a_text_is_judged_as_a_file_is(office, tmp_path):
    def taken(**given):
        return doors.run("slipway_approval_file", catalogue=office.catalogue, trust_policy=office.policy, **given)

    text = signed_by(office, "lead", tmp_path / "sent.json")
    assert taken()["reason"] == taken(text=text, path=tmp_path / "sent.json")["reason"] == "approval_input"
    assert (taken()["found"], taken(text=text, path=tmp_path / "sent.json")["found"]) == ("neither", "both")
    assert taken(text=" " * 300000)["reason"] == "json_invalid"
    assert taken(text="x" * 262145)["reason"] == "signed_text_too_large"
    assert taken(text=text[:-1])["reason"] == "json_invalid"
    assert taken(text=office.manifest.read_text())["reason"] == "approval_expected"
    office.build("v2")
    office.approve(release_id="v2", output=tmp_path / "v2.json")
    (office.catalogue / "shop/manifests/v2.dsse.json").unlink()
    assert taken(text=(tmp_path / "v2.json").read_text())["reason"] == "approval_of_unknown_release"
    assert taken(text=text, check=True)["changed"] is True
    assert not (office.catalogue / "shop/approvals").exists()
    by_text = taken(text=text)
    assert (by_text["changed"], taken(path=tmp_path / "sent.json")["changed"]) == (True, False)
    assert Path(by_text["path"]).read_bytes() == (tmp_path / "sent.json").read_bytes()


def test_no_approval_can_look_like_a_template(office, tmp_path):
    """What is given to a run and looks like one is refused; a signed file has no braces beside each other, nor a header of Jinja's."""
    text = signed_by(office, "lead", tmp_path / "sent.json")
    assert [mark for mark in ("{{", "{%", "{#", "#jinja2:") if mark in text] == []
    assert len(text) < 2048

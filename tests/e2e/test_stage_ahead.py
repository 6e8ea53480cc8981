# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging by runs of its own, a part of the hosts each, ahead of the one run that switches."""

from __future__ import annotations

import shutil

from deployments import Operator


def test_what_was_staged_ahead_in_parts_is_deployed_by_one_run_that_has_nothing_to_send(operator: Operator) -> None:
    shop = operator.application("ahead")
    shop.make("one", {"data/file": "one"})
    shop.deploy(limit="prod")
    shop.make("two", {"data/file": "two"})
    hosts = [name for name in operator.fleet.names() if name.startswith("prod-")]
    for part in (hosts[:1], hosts[1:]):
        words = shop.words("playbooks/stage.yml", ",".join(part), ["-e", "release_id=two"])
        operator.play(*words)
        assert operator.play(*words).text.count("changed=0") == len(part), "the second time there is nothing to do"
    seen = f"readlink /srv/{shop.name}/current; cat /srv/{shop.name}/current/data/file; ls /srv/{shop.name}/releases"
    assert {operator.fleet.inside(host, seen).stdout for host in hosts} == {"releases/one\noneone\ntwo\n"}
    shutil.rmtree(operator.catalogue / shop.name / "objects")
    done = shop.deploy("two", limit="prod")
    assert [done.row(host) for host in hosts] == [f"{host} confirmed two -" for host in hosts]

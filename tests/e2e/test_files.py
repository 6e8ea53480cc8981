# SPDX-License-Identifier: GPL-3.0-or-later
"""What surrounds a release: files outside its tree, links inside it, and what the application keeps across releases."""

from __future__ import annotations

from deployments import Operator


def test_files_outside_the_tree_are_kept_named_in_the_record_and_restored(operator: Operator) -> None:
    path = "/etc/e2e-shop.conf"
    shop = operator.application(
        "outside", ["prod-1"], files=[{"source": "etc/shop.conf", "path": path, "mode": "0640", "group": "e2e"}]
    )
    seen = f"stat -c '%a %U:%G' {path} && cat {path}"
    shop.fleet.inside("prod-1", f"echo by hand > {path}; chmod 0600 {path}; chown root:root {path}")
    shop.make("one", {"etc/shop.conf": "one\n"})
    shop.make("two", {"etc/shop.conf": "two\n"})

    shop.deploy("one")
    assert shop.fleet.inside("prod-1", seen).stdout == "640 root:e2e\none\n"
    kept = shop.history("prod-1")[0]["backups"]
    assert [(backup["path"], backup["mode"]) for backup in kept] == [(path, 0o600)]

    shop.order("prod-1", "ill")
    shop.deploy("two", code=2)
    assert shop.fleet.inside("prod-1", seen).stdout == "640 root:e2e\none\n", "goes back with the release"
    shop.relieve("prod-1")

    shop.deploy("two", "-e", "release_retry=true")
    assert shop.fleet.inside("prod-1", seen).stdout == "640 root:e2e\ntwo\n"
    shop.rollback()
    assert shop.fleet.inside("prod-1", seen).stdout == "640 root:e2e\none\n"


def test_links_travel_and_shared_paths_survive_every_deploy(operator: Operator) -> None:
    shop = operator.application("shared", ["prod-3"], shared_paths=["var/uploads", "log"])
    shop.make("one", {"data/v1": "1", "data/latest": "->v1"})
    shop.deploy(limit="prod-3")
    current = f"/srv/{shop.name}/current"
    assert shop.fleet.inside("prod-3", f"readlink {current}/data/latest; cat {current}/data/latest").stdout == "v1\n1"
    shop.fleet.inside("prod-3", f"su -s /bin/sh e2e -c 'echo mine > {current}/var/uploads/note'")
    refused = shop.fleet.inside("prod-3", f"su -s /bin/sh e2e -c 'echo no > {current}/data/v1'", check=False)
    assert refused.returncode != 0, "the tree belongs to root"

    shop.make("two", {"data/v2": "2", "data/latest": "->v2"})
    shop.deploy(limit="prod-3")
    assert shop.fleet.inside("prod-3", f"cat {current}/data/latest {current}/var/uploads/note").stdout == "2mine\n"
    assert shop.is_settled("prod-3")
    shop.rollback(limit="prod-3")
    assert shop.fleet.inside("prod-3", f"cat {current}/data/latest {current}/var/uploads/note").stdout == "1mine\n"

    shop.make("three", {"log/oops": "a release may not bring what the application owns"})
    before = shop.snapshot("prod-3")
    assert shop.deploy("three", limit="prod-3", code=2).says("shared_path_taken", "log")
    assert shop.snapshot("prod-3") == before

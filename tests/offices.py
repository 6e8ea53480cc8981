# SPDX-License-Identifier: GPL-3.0-or-later
"""A trust policy, its keys and a release in a catalogue, made by the modules at this very time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import doors
import pytest

LEAD, RISK = "engineering-lead", "risk-manager"
HOLDERS = {"operator": "root", "ci": "builder", "lead": LEAD, "risk": RISK}
RULES = {
    "require": [], "distinct_holders": True, "max_manifest_age_days": 90, "max_approval_age_days": 7, "rollback_depth": 3,
}  # fmt: skip
PROD = {
    **RULES,
    "require": [{"role": role, "threshold": 1} for role in (LEAD, RISK)],
    "rollback_require": [{"role": LEAD, "threshold": 1}],
}


@dataclass
class Office:
    """Where people sign: keys by holder, a policy in which prod asks for two approvals, and release v1 of shop."""

    directory: Path
    public_keys: dict[str, str] = field(default_factory=dict)

    @property
    def catalogue(self) -> Path:
        return self.directory / "catalogue"

    @property
    def policy(self) -> Path:
        return self.directory / "trust-policy.dsse.json"

    @property
    def manifest(self) -> Path:
        return self.catalogue / "shop/manifests/v1.dsse.json"

    def key(self, holder: str) -> Path:
        return self.directory / f"keys/{holder}.pem"

    def establish(self, **public_keys: str) -> None:
        """Make the keys and sign the policy; `public_keys` are of holders whose private keys are elsewhere."""
        self.public_keys = {
            holder: public_keys.get(holder) or doors.run("slipway_keypair", path=self.key(holder))["public_key"]
            for holder in HOLDERS
        }
        keys = [
            {"holder": holder, "role": role, "public_key": self.public_keys[holder], **({"path": str(self.key(holder))} if role == "root" else {})}
            for holder, role in HOLDERS.items()
        ]  # fmt: skip
        signed = doors.run(
            "slipway_trust_policy", path=self.policy, keys=keys, environments={"prod": PROD, "staging": RULES}
        )
        assert not signed.get("failed"), signed

    def build(self, release_id: str = "v1", **options: Any) -> dict[str, Any]:
        source = self.directory / "source"
        source.mkdir(exist_ok=True)
        (source / "slipway.yml").write_text("application: shop\nversion: '1.0'\n")
        (source / "shop").write_text(release_id)
        made = doors.run(
            "slipway_bundle", source=source, catalogue=self.catalogue, builder_key=self.key("ci"), trust_policy=self.policy,
            release_id=release_id, **options,
        )  # fmt: skip
        assert not made.get("failed"), made
        return made

    def approve(self, holder: str = "lead", *, check: bool = False, **options: Any) -> dict[str, Any]:
        """What slipway_approval answers; an option that is None is not given."""
        given = {
            "catalogue": self.catalogue, "application": "shop", "release_id": "v1", "trust_policy": self.policy,
            "environment": "prod", "role": HOLDERS[holder], "key": self.key(holder), **options,
        }  # fmt: skip
        return doors.run(
            "slipway_approval", check=check, **{name: value for name, value in given.items() if value is not None}
        )


@pytest.fixture
def office(tmp_path: Path) -> Office:
    made = Office(tmp_path / "office")
    made.directory.mkdir()
    made.establish()
    made.build()
    return made

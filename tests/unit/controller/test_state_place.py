# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a controller's state is: addresses that are taken, and those that are not."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.state_place import StatePlace, place_of, require_address

PASSWORD = "of-nobody-else"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "postgresql://db.example/slipway",
        "postgres://slipway@db.example:5433/slipway?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem",
        "postgresql://slipway@[2001:db8::1]:5432/slipway",
        "postgresql:///slipway?host=/run/postgresql",
        "postgresql:///slipway?host=db-1.example,db-2.example&target_session_attrs=read-write",
        "postgresql:///?service=slipway",
    ],
)
def test_an_address_of_libpq_is_taken_as_it_is(url):
    assert require_address(url) == url


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://slipway:{PASSWORD}@db.example/slipway",
        "postgresql://slipway:@db.example/slipway",
        f"postgresql://db.example/slipway?password={PASSWORD}",
        f"postgresql://db.example/slipway?%70assword={PASSWORD}",
        f"postgresql://db.example/slipway?sslmode=require&sslpassword={PASSWORD}",
        f"mysql://slipway:{PASSWORD}@db.example/slipway",
        "mysql://db.example/slipway",
        "sqlite:///state",
        "db.example",
        f"host=db.example password={PASSWORD}",
        f"postgresql:/slipway:{PASSWORD}@db.example/slipway",
        f"postgresql:slipway:{PASSWORD}@db.example/slipway",
        f"postgresql//slipway:{PASSWORD}@db.example/slipway",
        f"postgresql:///slipway:{PASSWORD}@db.example/slipway",
        f"POSTGRESQL://slipway:{PASSWORD}@db.example/slipway",
        f"{PASSWORD}:slipway@db.example/slipway",
        f"{PASSWORD}://slipway@db.example/slipway",
        f"postgresql://slipway:5432/{PASSWORD}@db.example/slipway",
        f"postgresql://slipway:5432?{PASSWORD}=@db.example/slipway",
        f"postgresql://slipway:5432#{PASSWORD}@db.example/slipway",
        f"postgresql://slipway%3A{PASSWORD}@db.example/slipway",
        f"postgresql://slipway/{PASSWORD}@db.example/slipway",
        f"postgresql://slipway;{PASSWORD}@db.example/slipway",
        f"postgresql://db.example/slipway%3A{PASSWORD}",
        f"postgresql:///slipway?user=slipway%3A{PASSWORD}",
        f"postgresql:///?dbname=slipway:{PASSWORD}@db.example",
        "postgresql://db.example:port/slipway",
        "postgresql://[db.example/slipway",
        "postgresql://db.example/slipway?sslmode",
        "postgresql://db.example/slipway?options=-csearch_path%3Dother",
        "postgresql://db.example/slipway#other",
        "postgresql://db.example/slip\nway",
    ],
)
def test_another_one_is_refused_and_no_password_is_repeated(url):
    with pytest.raises(Refusal) as caught:
        require_address(url)
    assert caught.value.reason == "state_url_invalid"
    assert PASSWORD not in str(caught.value)
    assert "slipway_state_password_secret" in caught.value.remedy


def test_a_place_is_named_without_its_user(tmp_path):
    assert str(StatePlace(tmp_path)) == str(tmp_path / "state.sqlite")
    assert str(StatePlace(tmp_path, "postgresql://slipway@db.example:5433/state")) == "db.example:5433, database state"
    assert str(StatePlace(tmp_path, "postgresql:///?service=slipway")) == "localhost, database (default)"


def test_a_directory_alone_is_a_place(tmp_path):
    place = place_of(tmp_path)
    assert (place.is_shared, place.is_required, place.key_path) == (False, True, tmp_path / "witness.pem")
    assert place_of(place) is place
    assert place.dispensable().is_required is False
    assert StatePlace(tmp_path, witness_key=tmp_path / "k").key_path == tmp_path / "k"

# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the image's packages come from and when the image has to be made anew."""

import os
from pathlib import Path

import pytest

from lab import image
from lab.errors import LabError

DEBIAN_12 = [
    "http://mirror.example/debian/|bookworm|Debian|main",
    "http://mirror.example/debian/|bookworm|Debian|contrib",
    "http://mirror.example/debian/|bookworm-updates|Debian|main",
    "http://mirror.example/debian/|bookworm-backports|Debian Backports|main",
    "http://mirror.example/debian-security/|bookworm-security|Debian|main",
    "https://third.example/apt/|bookworm|Third|main",
    "https://third.example/apt/|nodistro|. nodistro|main",
]
UBUNTU = [
    "http://mirror.example/ubuntu/|noble|Ubuntu|main",
    "http://mirror.example/ubuntu/|noble|Ubuntu|universe",
    "http://mirror.example/ubuntu/|noble|Ubuntu|multiverse",
    "http://mirror.example/ubuntu/|noble-security|Ubuntu|main",
]


def test_the_machines_own_archive_is_used_and_no_third_partys() -> None:
    assert image.archive_sources(DEBIAN_12, "bookworm", "bookworm") == [
        "http://mirror.example/debian/ bookworm main",
        "http://mirror.example/debian/ bookworm-updates main",
        "http://mirror.example/debian-security/ bookworm-security main",
    ]


def test_another_release_comes_from_the_same_archive() -> None:
    assert image.archive_sources(DEBIAN_12, "bookworm", "trixie")[0] == "http://mirror.example/debian/ trixie main"
    stable = ["http://mirror.example/debian/|stable|Debian|main"]
    assert image.archive_sources(stable, "trixie", "bookworm") == ["http://mirror.example/debian/ bookworm main"]


def test_ubuntu_needs_universe_too() -> None:
    assert image.archive_sources(UBUNTU, "noble", "noble") == [
        "http://mirror.example/ubuntu/ noble main universe",
        "http://mirror.example/ubuntu/ noble-security main",
    ]


@pytest.mark.parametrize("targets", [[], UBUNTU, ["http://mirror.example/debian/|bookworm-updates|Debian|main"]])
def test_without_a_main_archive_of_the_family_there_is_none(targets: list[str]) -> None:
    assert image.archive_sources(targets, "bookworm", "bookworm") == []


def test_a_mirror_list_is_replaced_by_its_first_address(tmp_path: Path) -> None:
    mirrors = tmp_path / "debian.list"
    mirrors.write_text("# mirrors\n\nhttps://first.example/debian priority:1\nhttps://second.example/debian\n")
    assert image.source_without_mirror_list(f"mirror+file:{mirrors}/ bookworm main") == (
        "https://first.example/debian bookworm main"
    )
    assert image.source_without_mirror_list("http://x.example/ a b") == "http://x.example/ a b"


def test_how_apt_reaches_its_archive_is_passed_on_and_nothing_else() -> None:
    dump = [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::https "";',
        'Acquire::Retries "3";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Changelogs::URI::Origin::Debian "https://changes.example";',
        'APT::Install-Recommends "false";',
    ]
    assert image.apt_options("\n".join(dump)) == [dump[0], dump[2], dump[3]]


def test_whatever_goes_into_the_image_changes_its_digest() -> None:
    digest = image.recipe_digest("bookworm", "x86_64", [b"a", b"b"])
    others = {
        image.recipe_digest("trixie", "x86_64", [b"a", b"b"]),
        image.recipe_digest("bookworm", "aarch64", [b"a", b"b"]),
        image.recipe_digest("bookworm", "x86_64", [b"ab"]),
        image.recipe_digest("bookworm", "x86_64", [b"a", b"c"]),
    }
    assert len(others) == 4
    assert digest not in others
    assert digest == image.recipe_digest("bookworm", "x86_64", [b"a", b"b"])


def test_the_distribution_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_LAB_DISTRIBUTION", "trixie")
    assert image.default_distribution() == "trixie"
    monkeypatch.setenv("SLIPWAY_LAB_DISTRIBUTION", "sarge")
    with pytest.raises(LabError, match="bookworm, trixie, noble"):
        image.default_distribution()


def test_only_the_tars_used_last_are_kept(tmp_path: Path) -> None:
    for age in range(5):
        (tmp_path / f"{age}.tar").touch()
        os.utime(tmp_path / f"{age}.tar", (1000 - age, 1000 - age))
    image.drop_old_tars(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tar", "1.tar", "2.tar"]


def test_an_installed_keyring_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "ubuntu-archive-keyring.gpg"
    installed.write_bytes(b"keys")
    monkeypatch.setitem(image.KEYRINGS, "ubuntu", [tmp_path / "absent.gpg", installed])
    with image.keyring("ubuntu") as found:
        assert found == installed
    assert installed.exists()


def test_every_family_gets_its_keys_from_the_other_familys_archive() -> None:
    assert {family: image.FAMILY[name] for family, name in image.KEYRING_FROM.items()} == {
        "debian": "ubuntu",
        "ubuntu": "debian",
    }

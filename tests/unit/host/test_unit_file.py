# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit file on a host: what stands in it, that no value breaks out of it, and whose file it must be."""

from __future__ import annotations

import os
import re
import stat

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.application.unit import Limits
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import unit_file

LIMITS = {"memory_max": "1G", "cpu_quota": "100%", "tasks_max": 512, "stop_timeout_seconds": 30}


def description(**changes):
    return {"unit": "bot.service", "service": {"command": "bin/bot", **changes}}


def text(described=None, **service) -> str:
    """The unit file for a description."""
    application = Application.parse("bot", {**description(**service), **(described or {})})
    assert application.service is not None
    return unit_file.render(application, application.service, Limits.parse(LIMITS))


def directives(unit: str) -> list[tuple[str, str]]:
    """Each directive as (name, value), with systemd's own rule for lines that go on."""
    lines = re.sub(r"\\\n", " ", unit).splitlines()
    return [tuple(line.split("=", 1)) for line in lines if line and not line.startswith(("#", "[", ";"))]


def values(unit: str, name: str) -> list[str]:
    return [value for key, value in directives(unit) if key == name]


@pytest.fixture
def directory(host):
    made = host.root / unit_file.DIRECTORY
    made.mkdir(parents=True)
    return made


@pytest.fixture
def write(host, directory):
    """A function that writes the unit of the application bot, with changes to its description."""

    def written(check=False, name="bot", limits=None, **changes):
        application = {"name": name, "description": {**description(), **changes}}
        return unit_file.write({"application": application, "limits": {**LIMITS, **(limits or {})}}, host, check=check)

    return written


def test_the_text_of_a_unit_with_everything():
    unit = text(
        {"user": "www-data", "group": "web", "check": {"argv": ["bin/bot", "--check"], "timeout_seconds": 45}},
        command="bin/bot serve 'two words'",
        description="The bot",
        after=["postgresql.service"],
        environment={"B": "2", "A": "1 and a half"},
        environment_files=["-/etc/bot/bot.env"],
        credentials={"KEY": "/etc/credstore/bot.key"},
        ip_allow=["localhost", "10.0.0.0/8"],
        writable_paths=["/var/lib/bot"],
        memory_max="512M",
        stop_timeout_seconds=90,
    )
    assert unit.startswith("# Written by Slipway for the application bot: ")
    assert values(unit, "Description") == ["The bot"]
    assert values(unit, "After") == values(unit, "Wants") == ["network-online.target postgresql.service"]
    assert values(unit, "ConditionPathExists") == values(unit, "WorkingDirectory") == ["/srv/bot/current"]
    assert (values(unit, "User"), values(unit, "Group")) == (["www-data"], ["web"])
    assert values(unit, "ExecStartPre") == ["/srv/bot/current/bin/bot --check"]
    assert values(unit, "ExecStart") == ['/srv/bot/current/bin/bot serve "two words"']
    assert values(unit, "TimeoutStartSec") == ["45s"]
    assert (values(unit, "KillMode"), values(unit, "TimeoutStopSec")) == (["mixed"], ["90s"])
    assert values(unit, "Environment") == ['"A=1 and a half"', "B=2"]
    assert values(unit, "EnvironmentFile") == ["-/etc/bot/bot.env"]
    assert values(unit, "LoadCredential") == ["KEY:/etc/credstore/bot.key"]
    assert values(unit, "IPAddressDeny") == ["any"]
    assert values(unit, "IPAddressAllow") == ["localhost", "10.0.0.0/8"]
    assert values(unit, "ReadWritePaths") == ["-/srv/bot/shared", "/var/lib/bot"]
    assert [values(unit, name) for name in ("MemoryMax", "CPUQuota", "TasksMax")] == [["512M"], ["100%"], ["512"]]
    assert values(unit, "NoNewPrivileges") == values(unit, "PrivateUsers") == ["yes"]
    assert values(unit, "CapabilityBoundingSet") == values(unit, "AmbientCapabilities") == [""]
    assert values(unit, "ProtectSystem") == ["strict"]


def test_a_unit_with_a_command_alone_is_named_for_its_application_and_speaks_to_all_networks():
    unit = text()
    assert values(unit, "Description") == ["bot"]
    assert values(unit, "User") == values(unit, "Group") == ["bot"]
    for name in ("ExecStartPre", "TimeoutStartSec", "IPAddressDeny", "IPAddressAllow", "Environment", "LoadCredential"):
        assert values(unit, name) == []


def test_a_capability_changes_neither_the_user_nor_the_read_only_root():
    unit = text(capabilities=["CAP_NET_BIND_SERVICE"])
    assert values(unit, "CapabilityBoundingSet") == values(unit, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    assert (values(unit, "User"), values(unit, "ProtectSystem")) == (["bot"], ["strict"])


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["bin/bot", "--check"], "/srv/bot/current/bin/bot --check"),
        (["./bot"], "/srv/bot/current/bot"),
        (["/usr/bin/test", "-e", "/etc/bot"], "/usr/bin/test -e /etc/bot"),
        (["sh", "-c", 'test "$HOME" = 5% ; x\\y'], 'sh -c "test \\"$$HOME\\" = 5%% ; x\\\\y"'),
        (["test", ";", "a;b"], 'test ";" "a;b"'),
    ],
)
def test_the_check_runs_before_each_start_word_for_word(argv, line):
    assert values(text({"check": {"argv": argv}}), "ExecStartPre") == [line]


def test_a_word_of_nothing_stays_a_word():
    assert values(text(command="bin/bot '' x"), "ExecStart") == ['/srv/bot/current/bin/bot "" x']


def test_a_short_check_leaves_systemd_its_own_time():
    assert values(text({"check": {"argv": ["true"], "timeout_seconds": 1}}), "TimeoutStartSec") == ["30s"]


def test_limits_that_are_infinite_are_none():
    unit = text(memory_max="infinity", cpu_quota="infinity", tasks_max="infinity")
    assert [values(unit, name) for name in ("MemoryMax", "CPUQuota", "TasksMax")] == [["infinity"], [], ["infinity"]]


HOSTILE = (
    "%h %% %n",
    "$HOME ${HOME}",
    '" User=root "',
    "' ; \\",
    "a\\tb",
    "[Service]",
    "# no comment",
    "=",
    " a  b ",
    "ü€",
)


@pytest.mark.parametrize("value", HOSTILE)
def test_no_text_says_more_than_it_is_meant_to(value):
    """Names and numbers of directives stay; what came in is one value, in which systemd finds no specifier."""
    unit = text(command=f"bin/bot {quoted(value)}", description=f"({value})", environment={"VALUE": value})
    plain = text(command="bin/bot x", description="x", environment={"VALUE": "x"})
    assert [name for name, _ in directives(unit)] == [name for name, _ in directives(plain)]
    for name in ("Description", "ExecStart", "Environment"):
        assert re.search(r"(?<!%)(%%)*%(?!%)", values(unit, name)[0]) is None
    assert unescaped(values(unit, "Environment")[0]) == f"VALUE={value}"
    assert unescaped(values(unit, "ExecStart")[0].partition(" ")[2]).replace("$$", "$") == value
    assert values(unit, "Description") == [f"({value})".replace("%", "%%")]


def quoted(value):
    return "'" + value.replace("'", "'\\''") + "'"


def unescaped(word):
    """What systemd makes of one word: quotes, backslashes and specifiers resolved."""
    if word.startswith('"'):
        assert word.endswith('"')
        word = re.sub(r"\\(.)", r"\1", word[1:-1])
    return word.replace("%%", "%")


def test_the_unit_is_written_once(write, directory, host):
    answer = write()
    path = directory / "bot.service"
    assert (answer["changed"], answer["path"]) == (True, "/etc/systemd/system/bot.service")
    assert (answer["reload_needed"], answer["message"]) == (True, "")
    assert path.read_text() == answer["diff"]["after"]
    assert answer["diff"]["before"] == ""
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o644, host.uid)
    before = path.stat()
    again = write()
    assert (again["changed"], again["reload_needed"]) == (False, False)
    assert path.stat() == before


def test_check_mode_shows_the_difference_and_writes_nothing(write, directory):
    write()
    before = (directory / "bot.service").read_text()
    answer = write(check=True, limits={"memory_max": "2G"})
    assert answer["changed"] is True
    assert "MemoryMax=2G" in answer["diff"]["after"]
    assert (directory / "bot.service").read_text() == answer["diff"]["before"] == before
    assert [path.name for path in directory.iterdir()] == ["bot.service"]


def test_a_running_unit_is_not_restarted_and_the_operator_is_told(write, systemctl):
    systemctl.units["bot.service"] = ("loaded", "active", "running")
    message = write()["message"]
    assert "bot.service runs on as it was started" in message
    assert "systemctl restart bot.service" in message
    assert write()["message"] == ""
    assert systemctl.verbs == []


def test_a_file_that_systemd_has_yet_to_read_is_said_so_again(write, systemctl):
    """A run may have died between the file and the reload."""
    write()
    systemctl.properties["bot.service"] = {"NeedDaemonReload": "yes"}
    answer = write()
    assert (answer["changed"], answer["reload_needed"]) == (False, True)


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o4644])
def test_a_unit_of_ours_with_another_mode_is_put_right(write, directory, mode):
    write()
    (directory / "bot.service").chmod(mode)
    assert write()["changed"] is True
    assert stat.S_IMODE((directory / "bot.service").stat().st_mode) == 0o644


def test_what_a_dead_run_left_beside_the_unit_goes(write, directory):
    left = directory / f".bot.service.{'a' * 16}"
    other = directory / f".other.service.{'b' * 16}"
    left.touch()
    other.touch()
    write()
    assert (left.exists(), other.exists()) == (False, True)


def written(directory) -> dict[str, tuple[int, ...]]:
    """Every entry with what writing to it would change; reading it may change its time of access."""
    entries = {path.name: path.lstat() for path in directory.rglob("*")}
    return {
        name: (s.st_ino, s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for name, s in entries.items()
    }


def refused(write, directory, **changes) -> Refusal:
    before = written(directory)
    for check in (True, False):
        with pytest.raises(Refusal) as refusal:
            write(check=check, **changes)
    assert written(directory) == before
    return refusal.value


@pytest.mark.parametrize(
    "content", ["[Service]\nExecStart=/bin/true\n", "# Ansible managed\n[Unit]\n", "", "\n# Written by Slipway"]
)
def test_a_unit_that_somebody_else_wrote_is_never_replaced(write, directory, content):
    (directory / "bot.service").write_text(content)
    refusal = refused(write, directory)
    assert refusal.reason == "unit_foreign"
    assert "etc/systemd/system/bot.service without the first line of a unit of Slipway" in refusal.found


def test_a_unit_of_another_application_is_never_replaced(write, directory):
    write(name="bot-two")
    refusal = refused(write, directory)
    assert (refusal.reason, "of the application 'bot-two'" in refusal.found) == ("unit_foreign", True)


@pytest.mark.parametrize("target", ["/dev/null", "/usr/lib/systemd/system/other.service"])
def test_a_unit_that_is_masked_or_linked_is_never_replaced(write, directory, target):
    (directory / "bot.service").symlink_to(target)
    assert refused(write, directory).reason == "unit_foreign"


@pytest.mark.parametrize("elsewhere", unit_file.OTHER_DIRECTORIES)
def test_a_unit_of_a_package_is_never_hidden(write, directory, host, elsewhere):
    place = host.root / elsewhere
    place.mkdir(parents=True)
    (place / "bot.service").write_text(text())
    refusal = refused(write, directory)
    assert (refusal.reason, f"{elsewhere}/bot.service" in refusal.found) == ("unit_foreign", True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"service": None}, "service_missing"),
        ({"unit": None, "service": None, "strategy": "none"}, "service_missing"),
        ({"service": {"command": "/bin/sh"}}, "application_invalid"),
        ({"limits": {"memory_max": "lots"}}, "application_limits_invalid"),
    ],
)
def test_what_describes_no_unit_is_refused(write, directory, changes, reason):
    assert refused(write, directory, **changes).reason == reason


def test_what_is_no_directory_of_units_holds_none(write, directory, host):
    """A file where a directory is looked for is as good as none."""
    (host.root / "lib").write_text("")
    assert write()["changed"] is True
    assert os.listdir(directory) == ["bot.service"]


# two instances

PORTS = {"port": 8080, "instance_ports": {"blue": 18080, "green": 18081}}
PAIR = {"unit": "bot@.service", "strategy": "blue_green", "blue_green": PORTS}


def test_an_instance_runs_what_its_colour_says_and_starts_only_while_that_is_active():
    unit = text({**PAIR, "check": {"argv": ["bin/bot", "--check"]}})
    assert values(unit, "WorkingDirectory") == values(unit, "ConditionPathExists") == ["/srv/bot/instances/%i"]
    assert values(unit, "ExecStart") == ["/srv/bot/instances/%i/bin/bot"]
    assert values(unit, "ExecStartPre") == ["/srv/bot/instances/%i/bin/bot --check"]
    assert values(unit, "ExecCondition") == ["/usr/bin/test /srv/bot/current -ef /srv/bot/instances/%i"]
    assert values(unit, "Environment") == ["SLIPWAY_INSTANCE=%i"]


def test_both_instances_have_their_port_in_a_file_of_their_own(write, directory, systemctl):
    for colour in ("blue", "green"):
        systemctl.units[f"bot@{colour}.service"] = ("loaded", "inactive", "dead")
    predicted = write(check=True, **PAIR)
    assert list(directory.iterdir()) == []
    answer = write(**PAIR)
    assert answer == predicted
    assert (answer["units"], answer["path"]) == (
        ["bot@blue.service", "bot@green.service"],
        f"/{unit_file.DIRECTORY}/bot@.service",
    )
    assert sorted(path.name for path in directory.iterdir()) == [
        "bot@.service",
        "bot@blue.service.d",
        "bot@green.service.d",
    ]
    port = (directory / "bot@green.service.d/slipway.conf").read_text()
    assert directives(port) == [("Environment", "PORT=18081")]
    again = write(**PAIR)
    assert (again["changed"], again["reload_needed"]) == (False, False)
    systemctl.units["bot@green.service"] = ("loaded", "active", "running")
    other = {**PORTS, "instance_ports": {"blue": 18080, "green": 18082}}
    changed = write(**{**PAIR, "blue_green": other})
    assert (changed["changed"], "bot@green.service runs on" in changed["message"]) == (True, True)


@pytest.mark.parametrize("name", ["bot@.service", "bot@blue.service", "bot@green.service.d/slipway.conf"])
def test_a_file_of_an_instance_that_is_somebody_elses_is_refused(write, directory, name):
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("[Service]\n")
    with pytest.raises(Refusal) as refused:
        write(**PAIR)
    assert refused.value.reason == "unit_foreign"
    assert (directory / name).read_text() == "[Service]\n"

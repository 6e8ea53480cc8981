# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks and migrations on a host: when they run, as what, and what follows when one fails."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.slipway.host import hooks
from ansible.module_utils.slipway.host.hooks import applied, failed_hooks, failed_migrations
from ansible.module_utils.slipway.host.journal import Journal
from ansible.module_utils.slipway.host.transaction import Transactions
from faults import calls
from releases import V1, V2, V3, leftovers

MOMENTS = ("before_switch", "after_switch", "before_confirm", "after_confirm", "before_rollback", "after_rollback")


class Diary:
    """What the commands of releases have written down, and which of them are to fail or to hang."""

    def __init__(self, site):
        self.site = site
        self.path = site.directory / "diary"
        self.failing = site.directory / "failing"
        self.failing.mkdir()

    def command(self, word):
        """A command that writes down its moment, its release, what is active, and fails when it is told to."""
        script = (
            f'echo "{word} $SLIPWAY_MOMENT of $SLIPWAY_RELEASE_ID in ${{PWD##*/}} before $SLIPWAY_PREVIOUS_RELEASE_ID '
            f'active $(basename "$(readlink {self.site.places.current})")" >> {self.path}; '
            f"echo wrote {word}; test ! -e {self.failing}/{word} || exit $(cat {self.failing}/{word})"
        )
        return ["sh", "-c", script]

    def fail(self, word, code=3):
        (self.failing / word).write_text(str(code))

    def relieve(self):
        for path in self.failing.iterdir():
            path.unlink()

    @property
    def lines(self):
        return self.path.read_text().splitlines() if self.path.exists() else []

    @property
    def words(self):
        return [line.split()[0] for line in self.lines]

    def forget(self):
        self.path.unlink(missing_ok=True)


@pytest.fixture
def diary(site):
    return Diary(site)


def hooks_of(diary, *moments, name=""):
    return "hooks: " + json.dumps({moment: [{"argv": diary.command(moment + name)}] for moment in moments})


def migrations_of(diary, *names):
    """Migrations by their names; one that begins with an exclamation mark is irreversible."""
    listed = []
    for name in names:
        entry = {"name": name.lstrip("!"), "argv": diary.command(name.lstrip("!")), "reversible": name[0] != "!"}
        listed.append({**entry, "back": diary.command(f"{name}-back")} if entry["reversible"] else entry)
    return "migrations: " + json.dumps(listed)


def build(site, release_id, files, *more):
    return site.build(release_id, files, more="\n".join(more))


@pytest.fixture
def two(site, diary):
    """v1 is active and has one migration; v2 has hooks at every moment and two more migrations, and is staged by run-2."""
    build(site, "v1", V1, migrations_of(diary, "m1"))
    build(site, "v2", V2, hooks_of(diary, *MOMENTS), migrations_of(diary, "m1", "m2", "m3"))
    site.deploy("v1", "run-1", migrate=True)
    site.stage("v2", run=site.run("run-2"))
    diary.forget()
    return site


def activate(site, release_id="v2", **keys):
    return site.activate(release_id, **{"run": site.run("run-2"), "migrate": True, **keys})


def confirm(site, release_id="v2"):
    return site.confirm(release_id, run=site.run("run-2"))


def revert(site, release_id="v2"):
    return site.revert(release_id, run=site.run("run-2"))


# when they run


def test_a_deployment_runs_hooks_at_their_moments_and_the_pending_migrations_before_the_switch(two, diary):
    activated = activate(two)
    assert activated["outcome"] == "switched"
    assert diary.lines == [
        "before_switch before_switch of v2 in v2 before v1 active v1",
        "m2 migrate of v2 in v2 before v1 active v1",
        "m3 migrate of v2 in v2 before v1 active v1",
        "after_switch after_switch of v2 in v2 before v1 active v2",
    ]
    diary.forget()
    assert confirm(two)["outcome"] == "confirmed"
    assert diary.words == ["before_confirm", "after_confirm"]


def test_the_first_release_has_all_its_migrations_pending_and_nothing_before_it(site, diary):
    build(site, "v1", V1, hooks_of(diary, "before_switch"), migrations_of(diary, "m1", "!m2"))
    site.deploy("v1", migrate=True)
    assert diary.lines == [
        "before_switch before_switch of v1 in v1 before  active ",
        "m1 migrate of v1 in v1 before  active ",
        "m2 migrate of v1 in v1 before  active ",
    ]


def test_the_record_says_how_each_ended_and_nothing_of_what_they_wrote(two, diary):
    activate(two)
    record = confirm(two)["record"]
    assert [result["moment"] for result in record["hooks"]] == list(MOMENTS[:4])
    result = record["hooks"][0]
    assert result["argv"] == diary.command("before_switch")
    assert (result["exit_code"], result["passed"], type(result["milliseconds"])) == (0, True, int)
    assert result["output_sha256"] == hashlib.sha256(b"wrote before_switch\n").hexdigest()
    assert [(result["name"], result["direction"], result["passed"]) for result in record["migrations"]] == [
        ("m2", "forward", True), ("m3", "forward", True),
    ]  # fmt: skip
    assert record["irreversible_accepted"] == []
    assert "wrote m2" not in json.dumps(record["migrations"])


def test_only_the_host_that_is_told_to_runs_the_migrations(two, diary):
    assert activate(two, migrate=False, migrated=True)["outcome"] == "switched"
    assert diary.words == ["before_switch", "after_switch"]
    assert confirm(two)["record"]["migrations"] == []


def test_a_host_that_knows_of_nobody_who_ran_them_refuses_to_switch(two, diary):
    refused = activate(two, migrate=False)
    assert (refused["reason"], refused["found"]) == ("migrations_not_run", "nobody ran m2, m3")
    assert (refused["changed"], two.current, diary.words, two.is_settled()) == (False, "v1", [], True)


def test_a_release_that_is_active_already_runs_nothing(two, diary):
    answer = two.activate("v1", run=two.run("run-2"))
    assert (answer["outcome"], answer["commands"], diary.words) == ("unchanged", [], [])


def test_what_would_be_run_is_said_by_staging_and_by_check_mode_and_is_not_run(two, diary):
    said = [
        *(f"migration {name}: {' '.join(diary.command(name))}" for name in ("m2", "m3")),
        *(f"{moment}: {' '.join(diary.command(moment))}" for moment in MOMENTS),
    ]
    staged = two.stage("v2", run=two.run("run-2"), check=True)
    assert staged["commands"] == said
    assert staged["diff"]["after"].endswith("".join(f"runs {line}\n" for line in said))
    assert activate(two, check=True)["commands"] == said
    assert diary.words == []


def test_an_irreversible_migration_is_called_that_before_it_is_run(site, diary):
    build(site, "v1", V1, migrations_of(diary, "!m1"))
    assert site.stage("v1", check=True)["commands"][0].startswith("migration m1 (irreversible): sh -c ")


def test_a_command_runs_in_its_release_as_the_user_with_what_it_has_to_know(site, diary, monkeypatch):
    monkeypatch.setenv("SECRET", "of the caller")
    build(site, "v1", V1, 'hooks: {before_switch: [{argv: [sh, -c, "env > %s; id -un >> %s"]}]}' % ((diary.path,) * 2))
    site.deploy("v1")
    lines = diary.lines
    assert lines[-1] == site.description["user"]
    assert {line for line in lines if line.startswith("SLIPWAY_")} == {
        "SLIPWAY_MOMENT=before_switch", "SLIPWAY_APPLICATION=shop", "SLIPWAY_RELEASE_ID=v1", "SLIPWAY_PREVIOUS_RELEASE_ID=",
        "SLIPWAY_RUN_ID=run-1",
    }  # fmt: skip
    assert not any("of the caller" in line for line in lines)


def test_a_migration_knows_its_name(site, diary):
    build(
        site,
        "v1",
        V1,
        f'migrations: [{{name: a.1, argv: [sh, -c, "echo $SLIPWAY_MIGRATION > {diary.path}"], reversible: false}}]',
    )
    site.deploy("v1", migrate=True)
    assert diary.lines == ["a.1"]


# failures before the switch


def test_a_failure_before_the_switch_leaves_everything_as_it_is_and_is_recorded(two, diary):
    diary.fail("before_switch")
    failed = activate(two)
    assert (failed["failed"], failed["reason"], failed["outcome"]) == (True, "hook_failed", "unchanged")
    assert "before_switch sh -c" in failed["msg"]
    assert "exit code 3, 'wrote before_switch'" in failed["msg"]
    assert failed["msg"].endswith("Nothing was switched: v1 is active.")
    assert (two.current, diary.words, two.is_settled()) == ("v1", ["before_switch"], True)
    record = two.records[-1]
    assert (record["status"], record["reason"], record["active_release_id"]) == ("failed", "hook_failed", "v1")
    assert [result["passed"] for result in record["hooks"]] == [False]
    assert two.inspect()["bad"] == {}
    diary.relieve()
    assert activate(two)["outcome"] == "switched"


def test_a_command_that_hangs_is_killed_with_all_that_it_started_at_its_time_out(site, diary):
    script = f"sleep 300 & echo $! > {diary.path}; wait"
    build(site, "v1", V1, f'hooks: {{before_switch: [{{argv: [sh, -c, "{script}"], timeout_seconds: 1}}]}}')
    site.stage("v1")
    failed = site.activate("v1")
    assert (failed["reason"], failed["record"]["hooks"][0]["exit_code"]) == ("hook_failed", None)
    assert "killed at its time-out" in failed["msg"]
    status = Path("/proc", diary.lines[0], "status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_a_migration_that_fails_has_those_before_it_taken_back_and_nothing_is_switched(two, diary):
    diary.fail("m3", 7)
    failed = activate(two)
    assert (failed["reason"], failed["outcome"], two.current) == ("migration_failed", "unchanged", "v1")
    assert diary.words == ["before_switch", "m2", "m3", "m2-back"]
    assert diary.lines[-1] == "m2-back migrate_back of v2 in v2 before v1 active v1"
    assert "exit code 7" in failed["msg"]
    assert "left in place" not in failed["msg"]
    assert [(each["name"], each["direction"], each["exit_code"]) for each in failed["record"]["migrations"]] == [
        ("m2", "forward", 0), ("m3", "forward", 7), ("m2", "back", 0),
    ]  # fmt: skip
    assert two.is_settled()


def test_what_cannot_be_taken_back_stays_and_is_named(site, diary):
    build(site, "v1", V1, migrations_of(diary, "a", "!b", "c", "d"))
    site.stage("v1")
    diary.fail("d")
    failed = site.activate("v1", migrate=True)
    assert diary.words == ["a", "b", "c", "d", "c-back"]
    assert failed["msg"].count("migrations left in place: a, b") == 1
    assert failed["record"]["status"] == "failed"


def test_a_migration_that_is_not_taken_back_stops_the_others_and_is_named(two, diary):
    build(two, "v3", V3, migrations_of(diary, "m1", "m2", "m3", "m4"))
    two.stage("v3", run=two.run("run-2"))
    for word in ("m4", "m3-back"):
        diary.fail(word)
    failed = activate(two, "v3")
    assert diary.words == ["m2", "m3", "m4", "m3-back"]
    assert "migration_left: m3: exit code 3 | migrations left in place: m2, m3" in failed["msg"]


def test_a_dead_man_has_its_whole_time_after_what_stands_before_the_switch(two, diary):
    slow = two.host.run

    def run(argv, **options):
        if "environment" in options:
            two.host.clock.advance(50)
        return slow(argv, **options)

    two.host = replace(two.host, run=run)
    answer = activate(two, confirm_within_seconds=60)
    assert answer["outcome"] == "switched", answer
    transaction = Journal(two.places.journal).read()
    assert [entry["step"] for entry in transaction.steps].index("renewed") < [
        entry["step"] for entry in transaction.steps
    ].index("switched")
    assert Transactions(two.places).deadman.seconds_left(transaction) == 10


# failures after the switch


def test_a_failure_after_the_switch_goes_back_and_takes_the_migrations_back(two, diary):
    diary.fail("after_switch")
    failed = activate(two)
    assert (failed["failed"], failed["reason"], failed["outcome"], two.current) == (
        True,
        "hook_failed",
        "reverted",
        "v1",
    )
    assert diary.words == [
        "before_switch", "m2", "m3", "after_switch", "before_rollback", "m3-back", "m2-back", "after_rollback",
    ]  # fmt: skip
    record = two.records[-1]
    assert (record["status"], record["reason"]) == ("rolled_back", "hook_failed")
    assert two.inspect()["bad"] == {"v2": "hook_failed"}
    assert two.is_settled()


def test_ill_health_runs_no_hook_after_the_switch_and_takes_the_migrations_back(two, diary):
    two.sicken("v2")
    failed = activate(two)
    assert (failed["reason"], two.current) == ("health_failed", "v1")
    assert diary.lines[3:] == [
        "before_rollback before_rollback of v2 in v2 before v1 active v2",
        "m3-back migrate_back of v2 in v2 before v1 active v1",
        "m2-back migrate_back of v2 in v2 before v1 active v1",
        "after_rollback after_rollback of v2 in v2 before v1 active v1",
    ]


def test_a_way_back_is_not_held_up_by_hooks_and_migrations_that_fail(two, diary):
    activate(two)
    for word in ("before_rollback", "after_rollback", "m3-back"):
        diary.fail(word)
    answer = revert(two)
    assert (answer["outcome"], answer.get("failed"), two.current) == ("reverted", None, "v1")
    assert diary.words[4:] == ["before_rollback", "m3-back", "after_rollback"]
    for told in ("hook_failed: before_rollback sh", "after_rollback sh", "migration_left: m3", "left in place: m2, m3"):
        assert told in answer["record"]["message"]
    assert answer["record"]["status"] == "rolled_back"


def test_a_failure_before_the_confirmation_goes_back(two, diary):
    activate(two)
    diary.fail("before_confirm")
    failed = confirm(two)
    assert (failed["failed"], failed["reason"], failed["outcome"], two.current) == (
        True,
        "hook_failed",
        "reverted",
        "v1",
    )
    assert "after_confirm" not in diary.words
    assert two.statuses[-1] == ("v2", "rolled_back")


def test_the_hooks_before_the_confirmation_run_once_in_an_exchange_of_their_own(two, diary):
    """So that no host of a run is confirmed before those of all hosts have passed."""
    activate(two)
    assert two.ask("make_ready", release_id="v2", run=two.run("run-2"), check=True)["outcome"] == "unchanged"
    ready = two.ask("make_ready", release_id="v2", run=two.run("run-2"))
    assert (ready["outcome"], ready["changed"], ready["active_release_id"]) == ("ready", True, "v2")
    again = two.ask("make_ready", release_id="v2", run=two.run("run-2"))
    assert (again["outcome"], again["changed"]) == ("ready", False)
    confirm(two)
    assert diary.words.count("before_confirm") == 1
    assert two.ask("make_ready", release_id="v2", run=two.run("run-2"))["outcome"] == "unchanged"


def test_hooks_before_the_confirmation_that_fail_in_their_own_exchange_go_back(two, diary):
    activate(two)
    diary.fail("before_confirm")
    failed = two.ask("make_ready", release_id="v2", run=two.run("run-2"))
    assert (failed["reason"], failed["outcome"], two.current) == ("hook_failed", "reverted", "v1")
    assert confirm(two)["reason"] == "nothing_to_confirm"
    assert two.ask("make_ready", release_id="v2", run=two.run("run-2"))["reason"] == "nothing_to_confirm"


def test_a_failure_after_the_confirmation_is_told_and_not_undone(two, diary):
    activate(two)
    diary.fail("after_confirm")
    confirmed = confirm(two)
    assert (confirmed["outcome"], confirmed.get("failed"), two.current) == ("confirmed", None, "v2")
    record = confirmed["record"]
    assert (record["status"], record["reason"]) == ("success", "hook_failed")
    assert record["message"].startswith("confirmed; hook_failed: after_confirm sh -c ")
    assert record["message"].endswith("exit code 3")


def test_the_hooks_of_a_moment_run_in_their_order_to_the_first_failure_or_all_of_them(site, diary):
    steps = [{"argv": diary.command(word)} for word in ("a", "b", "c")]
    build(site, "v1", V1, f"hooks: {json.dumps({'before_switch': steps, 'after_confirm': steps})}")
    site.stage("v1")
    diary.fail("b")
    site.activate("v1")
    assert diary.words == ["a", "b"]
    diary.relieve()
    diary.forget()
    site.activate("v1")
    diary.fail("a")
    diary.forget()
    record = site.confirm("v1")["record"]
    assert diary.words == ["a", "b", "c"]
    assert [result["passed"] for result in record["hooks"]] == [True, True, True, False, True, True]


# irreversible migrations


@pytest.fixture
def irreversible(two, diary):
    """v3 is staged by run-2 over v2, which run-2 brought; its last migration cannot be taken back."""
    activate(two)
    confirm(two)
    build(
        two,
        "v3",
        V3,
        hooks_of(diary, "after_switch", "before_rollback"),
        migrations_of(diary, "m1", "m2", "m3", "!m4", "m5"),
    )
    two.stage("v3", run=two.run("run-2"))
    diary.forget()
    return two


def assert_stuck(site, record):
    assert site.current == "v3"
    assert (record["status"], record["reason"], record["active_release_id"]) == (
        "failed",
        "migration_irreversible",
        "v3",
    )
    assert "it lies behind the irreversible migration m4" in record["message"]
    assert "docs/runbooks/irreversible-migration.md" in record["message"]
    assert site.is_settled()


@pytest.mark.parametrize("keys", [{"migrate": True}, {"migrate": False, "migrated": True}])
def test_there_is_no_way_back_over_an_irreversible_migration_whoever_ran_it(irreversible, diary, keys):
    irreversible.sicken("v3")
    failed = activate(irreversible, "v3", **keys)
    assert (failed["failed"], failed["outcome"], failed["reason"]) == (True, "stuck", "migration_irreversible")
    assert "No way back" in failed["msg"]
    assert_stuck(irreversible, failed["record"])
    assert "m5-back" not in diary.words
    assert "before_rollback" not in diary.words


def test_a_host_that_is_taken_back_with_others_stays_behind_an_irreversible_migration(irreversible):
    activate(irreversible, "v3")
    answer = revert(irreversible, "v3")
    assert (answer["failed"], answer["outcome"], answer["reason"]) == (True, "stuck", "migration_irreversible")
    assert_stuck(irreversible, answer["record"])


def test_a_recovery_and_a_dead_man_stay_behind_an_irreversible_migration(irreversible):
    activate(irreversible, "v3", confirm_within_seconds=5)
    irreversible.host.clock.advance(6)
    irreversible.recover(run=irreversible.run("run-9"))
    assert_stuck(irreversible, irreversible.records[-1])
    assert "did not confirm in time" in irreversible.records[-1]["message"]


def test_a_start_of_the_host_stays_behind_an_irreversible_migration(irreversible, systemctl):
    activate(irreversible, "v3")
    systemctl.calls.clear()
    Transactions(irreversible.places, at_boot=True).recover()
    assert_stuck(irreversible, irreversible.records[-1])


def test_a_failure_before_the_switch_is_no_matter_of_ways_back(irreversible, diary):
    """What is active was not left; that the irreversible one stays is told."""
    diary.fail("m5")
    failed = activate(irreversible, "v3")
    assert (failed["reason"], irreversible.current) == ("migration_failed", "v2")
    assert "migrations left in place: m4" in failed["msg"]


def test_a_rollback_over_an_irreversible_migration_is_refused_or_accepted_and_recorded(irreversible, diary):
    activate(irreversible, "v3")
    confirm(irreversible, "v3")
    diary.forget()
    for check in (True, False):
        refused = irreversible.rollback("v2", run=irreversible.run("run-3"), check=check)
        assert (refused["reason"], refused["found"], refused["changed"]) == ("migration_irreversible", "m4", False)
        assert "docs/runbooks/irreversible-migration.md" in refused["remedy"]
        assert "-e release_irreversible_accepted=true" in refused["remedy"]
    assert (irreversible.current, diary.words) == ("v3", [])
    answer = irreversible.rollback("v2", run=irreversible.run("run-3"), irreversible_accepted=True, migrate=True)
    assert (answer["outcome"], irreversible.current) == ("confirmed", "v2")
    assert answer["record"]["irreversible_accepted"] == ["m4"]
    assert diary.words == ["before_rollback", "m5-back"]


def test_a_rollback_over_an_irreversible_migration_that_is_not_well_goes_forth_again(irreversible, diary):
    activate(irreversible, "v3")
    confirm(irreversible, "v3")
    irreversible.sicken("v2")
    answer = irreversible.rollback(
        "v2", run=irreversible.run("run-3"), irreversible_accepted=True, migrate=True
    )  # fmt: skip
    assert (answer["reason"], answer["outcome"], irreversible.current) == ("health_failed", "reverted", "v3")
    assert "m5-back" not in diary.words


def test_a_deployment_over_an_irreversible_migration_that_the_release_does_not_know_is_refused(irreversible):
    activate(irreversible, "v3")
    confirm(irreversible, "v3")
    build(irreversible, "v4", V1)
    irreversible.stage("v4", run=irreversible.run("run-4"))
    refused = irreversible.activate("v4", run=irreversible.run("run-4"), migrate=True)
    assert (refused["reason"], refused["found"], irreversible.current) == ("migration_irreversible", "m4", "v3")
    answer = irreversible.activate("v4", run=irreversible.run("run-4"), irreversible_accepted=True)
    assert answer["outcome"] == "switched"


# rollbacks


def test_a_rollback_runs_the_hooks_of_the_release_that_is_left_and_takes_back_what_this_host_ran(two, diary):
    activate(two)
    confirm(two)
    diary.forget()
    foreseen = two.rollback("v1", run=two.run("run-3"), migrate=True, check=True)["commands"]
    assert [line.split(":")[0] for line in foreseen] == [
        "takes back migration m3", "takes back migration m2", "before_rollback", "after_rollback",
    ]  # fmt: skip
    answer = two.rollback("v1", run=two.run("run-3"), migrate=True)
    assert answer["outcome"] == "confirmed"
    assert diary.lines == [
        "before_rollback before_rollback of v2 in v2 before v1 active v2",
        "m3-back migrate_back of v2 in v2 before v1 active v1",
        "m2-back migrate_back of v2 in v2 before v1 active v1",
        "after_rollback after_rollback of v2 in v2 before v1 active v1",
    ]
    assert [(each["name"], each["direction"]) for each in answer["record"]["migrations"]] == [
        ("m3", "back"),
        ("m2", "back"),
    ]
    assert answer["record"]["reason"] is None


def test_a_rollback_takes_back_nothing_that_another_host_ran_or_that_it_is_not_told_to(two, diary):
    activate(two, migrate=False, migrated=True)
    confirm(two)
    diary.forget()
    two.rollback("v1", run=two.run("run-3"), migrate=True)
    assert diary.words == ["before_rollback", "after_rollback"]


def test_a_rollback_leaves_migrations_alone_unless_it_is_told_to_take_them_back(two, diary):
    activate(two)
    confirm(two)
    diary.forget()
    two.rollback("v1", run=two.run("run-3"))
    assert diary.words == ["before_rollback", "after_rollback"]


def test_what_was_taken_back_is_not_taken_back_again(two, diary):
    activate(two)
    confirm(two)
    two.rollback("v1", run=two.run("run-3"), migrate=True)
    run = two.run("run-4")
    two.activate("v2", run=run, retry=True, migrated=True)
    two.confirm("v2", run=run)
    diary.forget()
    two.rollback("v1", run=two.run("run-5"), migrate=True)
    assert diary.words == ["before_rollback", "after_rollback"]


def test_a_rollback_is_kept_whatever_its_hooks_and_migrations_say_and_says_so(two, diary):
    activate(two)
    confirm(two)
    for word in ("before_rollback", "after_rollback", "m3-back"):
        diary.fail(word)
    diary.forget()
    answer = two.rollback("v1", run=two.run("run-3"), migrate=True)
    assert (answer["outcome"], two.current) == ("confirmed", "v1")
    assert diary.words == ["before_rollback", "m3-back", "after_rollback"]
    record = answer["record"]
    assert (record["status"], record["reason"]) == ("success", "migration_left")
    assert record["message"].startswith("confirmed; migration_left: m3: exit code 3; hook_failed: before_rollback")


def test_a_rollback_to_what_is_not_well_goes_forth_again_without_hooks_and_migrations(two, diary):
    activate(two)
    confirm(two)
    diary.forget()
    two.sicken("v1")
    answer = two.rollback("v1", run=two.run("run-3"), migrate=True)
    assert (answer["failed"], answer["reason"], two.current) == (True, "health_failed", "v2")
    assert diary.words == ["before_rollback"]


def test_a_release_that_is_not_what_was_signed_any_more_has_no_say_when_it_is_left(two, diary):
    activate(two)
    confirm(two)
    diary.forget()
    (two.release("v2") / "bin/shop").write_bytes(b"#!/bin/sh\nevil\n")
    answer = two.rollback("v1", run=two.run("run-3"), migrate=True)
    assert (answer["outcome"], diary.words) == ("confirmed", [])


# interruptions


def test_a_recovery_runs_the_hooks_of_the_way_back_and_leaves_the_migrations(two, diary):
    """They are the other hosts' too, and who recovers does not know what those serve."""
    activate(two)
    diary.forget()
    two.recover(run=two.run("run-9", dead_runs=["run-2"]))
    assert (two.current, diary.words) == ("v1", ["before_rollback", "after_rollback"])
    record = two.records[-1]
    assert record["status"] == "interrupted"
    assert record["message"].endswith("migrations left in place: m2, m3")
    diary.forget()
    two.activate("v2", run=two.run("run-9"), migrate=True, retry=True)
    assert diary.words[:3] == ["before_switch", "m2", "m3"]


def test_a_start_of_the_host_runs_nothing(two, diary):
    activate(two)
    diary.forget()
    Transactions(two.places, at_boot=True).recover()
    assert (two.current, diary.words) == ("v1", [])
    assert two.records[-1]["message"].endswith("migrations left in place: m2, m3")


def settle(site):
    site.recover(run=site.run("run-9", dead_runs=["run-2", "run-3"]))


def exchange_activate(site):
    return activate(site)


def exchange_activate_ill(site):
    site.sicken("v2")
    try:
        return activate(site)
    finally:
        site.sicken()


def exchange_confirm(site):
    return confirm(site)


def exchange_revert(site):
    return revert(site)


def exchange_roll_back(site):
    return site.rollback("v1", run=site.run("run-3"), migrate=True)


SWEEP = [
    pytest.param((), exchange_activate, {"v1"}, id="activate"),
    pytest.param((), exchange_activate_ill, {"v1"}, id="activate_ill"),
    pytest.param((exchange_activate,), exchange_confirm, {"v1", "v2"}, id="confirm"),
    pytest.param((exchange_activate,), exchange_revert, {"v1"}, id="revert"),
    pytest.param((exchange_activate, exchange_confirm), exchange_roll_back, {"v1", "v2"}, id="roll_back"),
]


@pytest.fixture
def stand(two, diary):
    two.description["health"] = [{"type": "unit"}]
    return two, two.directory / "template"


@pytest.mark.parametrize(("before", "exchange", "possible"), SWEEP)
def test_an_exchange_with_hooks_and_migrations_that_is_killed_anywhere_is_settled(
    stand, diary, before, exchange, possible, capsys
):
    """Whatever ran is named by the one record; hooks run once, but for those of a way back; nothing is left over."""
    site, template = stand
    for each in before:
        assert not each(site).get("failed")
    calls.copy(site.host.root, template)
    records, number = len(site.records), 0
    is_open = Journal(site.places.journal).read() is not None
    diary.forget()
    while calls.die_at(number, lambda: exchange(site)):
        ran = diary.words
        settle(site)
        assert site.current in possible
        assert leftovers(site.host.root) == []
        new = site.records[records:]
        assert len(new) <= 1
        assert len(new) == 1 or not (is_open or ran)
        repeated = {word for word in diary.words if diary.words.count(word) > 1}
        assert repeated <= {"before_rollback", "after_rollback"}
        if new and site.current == "v1" and exchange is not exchange_roll_back:
            forward = {word for word in ran if word in ("m2", "m3")} - {
                each["name"] for each in new[0]["migrations"] if each["direction"] == "back" and each["passed"]
            }
            assert (
                forward <= {each["name"] for each in new[0]["migrations"] if each["direction"] == "forward"} or before
            )
            assert all(name in new[0]["message"] for name in forward)
        number += 1
        calls.copy(template, site.host.root)
        diary.forget()
    with capsys.disabled():
        print(f" killed at {number} points", end=" ")
    assert number > 20


@pytest.mark.parametrize(("before", "exchange", "possible"), [SWEEP[1], SWEEP[4]])
def test_a_full_disk_at_any_moment_of_an_exchange_with_hooks_and_migrations_leaves_no_half_state(
    stand, diary, before, exchange, possible, capsys
):
    site, template = stand
    for each in before:
        assert not each(site).get("failed")
    calls.copy(site.host.root, template)
    number = 0
    while True:
        with calls.fail_once(number).installed() as counted:
            answer = exchange(site)
        if number >= len(counted.names):
            break
        assert not answer.get("failed") or answer["reason"] in (
            "disk_full", "deadman_not_armed", "switch_failed", "health_failed", "host_error", "hook_failed",
        ), answer  # fmt: skip
        settle(site)
        assert site.current in possible
        assert leftovers(site.host.root) == []
        number += 1
        calls.copy(template, site.host.root)
        diary.forget()
    with capsys.disabled():
        print(f" full at {number} points", end=" ")
    assert number > 20


# words


def test_applied_are_those_that_passed_and_were_not_taken_back_since():
    def result(name, direction, passed=True):
        return {"name": name, "direction": direction, "passed": passed, "exit_code": 0 if passed else 1}

    results = [
        result("a", "forward"),
        result("b", "forward"),
        result("b", "back"),
        result("c", "forward", passed=False),
    ]
    assert applied(results) == ("a",)
    assert applied([*results, result("a", "back", passed=False)]) == ("a",)
    assert applied([*results, result("b", "forward")]) == ("a", "b")
    assert failed_migrations(results) is None
    assert failed_migrations([result("a", "back", passed=False)]) == "migration_left: a: exit code 1"


def test_failed_hooks_are_named_with_how_they_ended():
    passed = {"moment": "after_confirm", "argv": ["a"], "passed": True, "exit_code": 0}
    failed = {"moment": "after_rollback", "argv": ["b", "c"], "passed": False, "exit_code": None}
    assert failed_hooks([passed]) is None
    assert failed_hooks([passed, failed]) == "hook_failed: after_rollback b c: killed at its time-out"


def test_a_journal_of_before_hooks_has_none(two):
    transaction = Journal(two.places.journal)
    opened = transaction.open({"id": "0" * 32, "rollback": False, "previous_release_id": "v1"})
    commands = hooks.Commands(two.places, lambda *_: pytest.fail("nothing is noted"))
    assert commands.hooks(opened, "before_switch") == (opened, None)
    assert commands.migrate(opened) == (opened, None)
    assert commands.take_back(opened) == opened
    assert commands.has_passed(opened, "before_confirm")
    assert hooks.stands_in_the_way(opened) is None
    transaction.close()

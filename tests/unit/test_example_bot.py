# SPDX-License-Identifier: GPL-3.0-or-later
"""The example bot: its configuration, its database, its migrations, and that the files beside it say the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.slipway.controller.descriptor import Database
from ansible.module_utils.slipway.controller.migrations import read_migrations

BOT = Path(__file__).parents[2] / "examples/bot"
CANARY = "canary-51e0"
HEAD = "8c26f4b7d013"
SOUND = {
    "DATABASE_URL": f"sqlite:////nowhere/{CANARY}.db",
    "SECRET_KEY": CANARY * 4,
    "BOT_TOKEN": CANARY,
}


@pytest.fixture
def bot(tmp_path):
    """A copy of the example in a directory with the name of a release."""
    return Path(shutil.copytree(BOT, tmp_path / "v1"))


def run(bot, *arguments, **environment):
    words = [sys.executable, bot / "bin/bot", *arguments]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def serve(bot):
    processes = []

    def started(**environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, bot / "bin/bot"],
            env={"PATH": os.environ["PATH"], "API_HOST": "127.0.0.1", "API_PORT": str(port), **SOUND, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline().startswith("bot (v1) listens on 127.0.0.1:")
        return f"http://127.0.0.1:{port}"

    yield started
    for process in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert CANARY not in process.stdout.read()
        process.stdout.close()


def get(url):
    """Return (status, the answer)."""
    try:
        answer = urllib.request.urlopen(url, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, json.loads(answer.read())


def database(tmp_path, *revisions):
    """The URL of a database to which these revisions were applied, one after the other; without one, of an empty database."""
    path = tmp_path / "bot.db"
    with sqlite3.connect(path) as connection:
        if revisions:
            connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", revisions[-1:])
    connection.close()
    return f"sqlite:///{path}"


def test_the_bot_is_alive_whatever_its_database_does_but_not_ready(serve):
    url = serve()
    assert get(f"{url}/health/live") == (200, {"status": "alive"})
    assert get(f"{url}/health/ready") == (503, {"status": "unready"})
    status, report = get(f"{url}/health/check")
    assert (status, report["database"]) == (503, "unable to open database file")
    assert get(f"{url}/absent")[0] == 404


@pytest.mark.parametrize("revisions", [(), ("3a7d51c0e9f2",), (HEAD,), ("ffffffffffff",)])
def test_the_bot_is_ready_with_a_database_of_any_schema(serve, tmp_path, revisions):
    url = serve(DATABASE_URL=database(tmp_path, *revisions))
    assert get(f"{url}/health/ready") == (200, {"status": "ready"})
    report = get(f"{url}/health/check")[1]
    assert (report["revision"], report["head"]) == (revisions[-1] if revisions else None, HEAD)
    assert get(f"{url}/version")[1] == {"release_id": "v1", "head": HEAD}


@pytest.mark.parametrize("address", ["postgresql+asyncpg://bot:{}@127.0.0.1:1/bot", "mysql://bot:{}@127.0.0.1/bot"])
def test_a_database_that_cannot_be_asked_makes_the_bot_unready_and_its_password_stays_untold(serve, address):
    status, report = get(serve(DATABASE_URL=address.format(CANARY)) + "/health/check")
    assert (status, report["status"]) == (503, "unready")
    assert CANARY not in json.dumps(report)


def test_credentials_come_before_the_environment(bot, tmp_path):
    (tmp_path / "SECRET_KEY").write_text("short\n")
    done = run(bot, CREDENTIALS_DIRECTORY=str(tmp_path), **SOUND)
    assert (done.returncode, done.stderr) == (
        1,
        "bot: SECRET_KEY must have at least 32 characters, found 5 characters\n",
    )


def test_a_credential_is_taken_as_slipway_judges_it(bot, tmp_path):
    """Without the end of its line, and nothing else of it."""
    (tmp_path / "SECRET_KEY").write_text("k" * 31 + " \n")
    done = run(bot, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert done.stderr == "bot: DATABASE_URL is missing; BOT_TOKEN is missing\n"


def test_all_mistakes_of_the_configuration_are_named_at_once_and_no_secret_is(bot):
    done = run(bot, SECRET_KEY=CANARY, API_PORT="http", DB_POOL_SIZE="0", ADMIN_IDS="1,2")
    assert done.returncode == 1
    assert done.stderr == (
        "bot: DATABASE_URL is missing; DB_POOL_SIZE must be a whole number from 1 on, found '0'; "
        "API_PORT must be a whole number from 1 on, found 'http'; "
        "SECRET_KEY must have at least 32 characters, found 11 characters; BOT_TOKEN is missing\n"
    )


def test_the_check_is_for_the_release_alone(bot):
    done = run(bot, "--check")
    assert (done.returncode, done.stdout) == (0, f"bot: the migrations lead to {HEAD}\n")
    (bot / "migrations/versions/3a7d51c0e9f2_create_users.py").rename(bot / "lost.py")
    assert run(bot, "--check").returncode == 0
    (bot / "migrations/versions/8c26f4b7d013_remember_when_users_came.py").unlink()
    done = run(bot, "--check")
    assert done.returncode == 1
    assert "must lead to one revision, found []" in done.stderr


def test_the_bot_knows_its_own_options_only(bot):
    assert run(bot, "--help").returncode == 2


def test_the_bot_and_slipway_read_the_same_head():
    descriptor = yaml.safe_load((BOT / "slipway.yml").read_text())
    revisions = read_migrations(BOT, Database(**descriptor["database"]))
    assert (revisions.head, revisions.revisions) == (HEAD, ("3a7d51c0e9f2", HEAD))


def test_what_is_declared_of_the_configuration_is_what_the_bot_reads(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("bot", str(BOT / "bin/bot"))
    program = module_from_spec(spec_from_loader("bot", loader))
    loader.exec_module(program)
    declared = application()["configuration"]["keys"]
    assert list(declared) == list(program.KEYS)
    for name, key in program.KEYS.items():
        least = {name: value for name, value in declared[name].items() if name in ("minimum", "min_length")}
        assert declared[name]["type"] == key.kind.__name__
        assert (declared[name].get("required", False), declared[name].get("secret", False)) == (
            key.required,
            key.secret,
        )
        assert declared[name].get("default") == (list(key.default) if key.kind is list else key.default)
        assert next(iter(least.values()), 0) == key.least


def application():
    return yaml.safe_load((BOT / "application.yml").read_text())["slipway_applications"]["bot"]

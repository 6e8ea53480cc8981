# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit gives its service, as systemd says it and as its files have it."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.application.configuration import Value
from ansible.module_utils.slipway.application.settings import (
    Credentials,
    Unit,
    bus_name,
    gather,
    parse_environment_file,
    read_files,
    split_words,
)
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.base.errors import Refusal

NONE = {name: [] for name in ("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted")}


def place(root, path, data):
    where = root / path.lstrip("/")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(data if isinstance(data, bytes) else data.encode())
    return where


# environment files: each case was compared with what systemd 252, 255 and 257 give a service


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("# comment A=1\n; comment B=2\n\n", {}),
        ("PLAIN=one two  three   \n", {"PLAIN": "one two  three"}),
        ("  LEAD=x\nKEYSPACE =y\nEMPTY=\n", {"LEAD": "x", "KEYSPACE": "y", "EMPTY": ""}),
        ("NOSEP\nexport EXP=1\n1BAD=x\nDOT.T=x\nA=1", {"A": "1"}),
        ("SINGLE='a  b' \n", {"SINGLE": "a  b"}),
        ('DOUBLE="a \\"q\\" \\\\ \\n \\$x \\`y\\` z"\n', {"DOUBLE": 'a "q" \\ \\n $x `y` z'}),
        ('CONT=one \\\ntwo\nDCONT="one \\\ntwo"\n', {"CONT": "one two", "DCONT": "one two"}),
        ("SMULTI='line1\nline2'\nB=2\n", {"SMULTI": "line1\nline2", "B": "2"}),
        ('MIXED="a"\'b\' c\nAFTER="a" b\n', {"MIXED": "abc", "AFTER": "ab"}),
        ("INNER=a \"b\" 'c'\nQINBARE=it's\n", {"INNER": "a \"b\" 'c'", "QINBARE": "it's"}),
        ('ESC=a\\ b\\\\c\\"d\\n\nTRAIL=a\\ \n', {"ESC": 'a b\\c"dn', "TRAIL": "a "}),
        ("COMM=a # not a comment\nEQ=a=b=c\n", {"COMM": "a # not a comment", "EQ": "a=b=c"}),
        ("TAB=\tx\ty\t\n", {"TAB": "x\ty"}),
        ('LASTQ="unterminated\nmore\n', {"LASTQ": "unterminated\nmore\n"}),
        ("LASTS='unterminated\nmore", {"LASTS": "unterminated\nmore"}),
        ("CR=abc\r\nAFTERCR=1\r\nBSEND=abc\\", {"CR": "abc", "AFTERCR": "1", "BSEND": "abc"}),
        ("A=1\nA=2\n", {"A": "2"}),
    ],
)
def test_an_environment_file_is_read_as_systemd_reads_it(text, values):
    assert parse_environment_file(text) == values


def test_files_come_in_order_and_a_missing_one_is_a_problem_unless_it_may_be_missing(tmp_path):
    place(tmp_path, "/etc/b.env", "A=1\n")
    found = read_files(["/etc/b.env", "/etc/none.env", "-/etc/perhaps.env"], tmp_path)
    assert [(file.path, dict(file.variables), file.problem) for file in found] == [
        ("/etc/b.env", {"A": "1"}, ""), ("/etc/none.env", {}, "not there"),
    ]  # fmt: skip


def test_a_pattern_is_every_file_that_matches_sorted(tmp_path):
    for name in ("20.env", "10.env", "other"):
        place(tmp_path, f"/etc/bot.d/{name}", f"A={name}\n")
    assert [file.path for file in read_files(["/etc/bot.d/*.env"], tmp_path)] == [
        "/etc/bot.d/10.env",
        "/etc/bot.d/20.env",
    ]
    assert [file.problem for file in read_files(["/etc/none.d/*"], tmp_path)] == ["not there"]
    assert read_files(["-/etc/none.d/*"], tmp_path) == []


@pytest.mark.parametrize(
    ("data", "problem"), [(b"A=\xff\n", "not UTF-8"), (b"A=" + b"x" * (1 << 20), "more than"), (None, "or directory")]
)
def test_a_file_that_systemd_could_not_use_is_a_problem(tmp_path, data, problem):
    if data is None:
        (tmp_path / "etc/b.env").mkdir(parents=True)
    else:
        place(tmp_path, "/etc/b.env", data)
    (file,) = read_files(["/etc/b.env"], tmp_path)
    assert problem in file.problem
    assert "xxx" not in file.problem


def test_a_file_that_may_not_be_read_is_a_problem(tmp_path, monkeypatch):
    place(tmp_path, "/etc/b.env", "A=1\n")

    def denied(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ansible.module_utils.slipway.application.settings.read_regular", denied)
    assert read_files(["/etc/b.env"], tmp_path)[0].problem == "Permission denied"


# the unit


def test_words_are_split_as_systemctl_quotes_them():
    printed = (
        r'A=b "C=d e" "Q=it'
        r"'"
        r's \"q\" \\\\ \$x ;" "N=line1\nline2" U=ü "T=a\tb" E= "D=\$HOME" "B=\`x\`!" "H=\x41\102\e"'
    )
    assert split_words(printed) == [
        "A=b", "C=d e", "Q=it's \"q\" \\\\ $x ;", "N=line1\nline2", "U=ü", "T=a\tb", "E=", "D=$HOME", "B=`x`!", "H=ABe",
    ]  # fmt: skip
    assert split_words("") == []


@pytest.fixture
def unit(systemctl):
    """Ask for shop.service, of which systemd says this."""

    def asked(**properties):
        systemctl.units["shop.service"] = ("loaded", "active", "running")
        systemctl.properties["shop.service"] = properties
        return Unit.ask("shop.service", systemctl)

    return asked


def test_a_unit_that_systemd_does_not_know_is_not_loaded(systemctl):
    assert Unit.ask("none.service", systemctl).is_loaded is False


def test_later_sources_win_and_what_is_unset_is_gone(unit, tmp_path):
    place(tmp_path, "/etc/1.env", "B=file\nC=file\n")
    place(tmp_path, "/etc/2.env", "C=later\nD=gone\n")
    asked = unit(
        Environment='A=unit "B=from unit"',
        EnvironmentFiles=["/etc/1.env (ignore_errors=no)", "/etc/2.env (ignore_errors=yes)"],
        UnsetEnvironment="D",
    )
    assert asked.is_loaded
    assert asked.files() == ["/etc/1.env", "-/etc/2.env"]
    assert gather(asked, read_files(asked.files(), tmp_path)) == {
        "A": Value("unit", "Environment= of shop.service"),
        "B": Value("file", "/etc/1.env", "/etc/1.env"),
        "C": Value("later", "/etc/2.env", "/etc/2.env"),
    }


def test_without_a_unit_the_files_are_all_there_is(tmp_path):
    place(tmp_path, "/etc/1.env", "A=1\n")
    assert gather(None, read_files(["/etc/1.env"], tmp_path)) == {"A": Value("1", "/etc/1.env", "/etc/1.env")}


@pytest.mark.parametrize(
    ("unit_name", "name"),
    [("shop.service", "shop_2eservice"), ("1-a@b.service", "_31_2da_40b_2eservice"), ("a1.service", "a1_2eservice")],
)
def test_a_unit_has_a_name_on_the_bus(unit_name, name):
    assert bus_name(unit_name) == name


# credentials


@pytest.fixture
def credentials(unit, systemctl):
    """The credentials of shop.service, of which systemd says this."""

    def asked(**properties):
        systemctl.credentials["shop.service"] = {**NONE, **properties}
        return unit().credentials()

    return asked


def test_a_credential_of_a_plain_file_has_its_text_without_the_last_line_end(credentials, tmp_path):
    place(tmp_path, "/etc/keys/secret", "k" * 32 + "\n")
    found = credentials(LoadCredential=[["SECRET_KEY", "/etc/keys/secret"]]).find("SECRET_KEY", tmp_path)
    assert found == Value("k" * 32, "the credential /etc/keys/secret", "/etc/keys/secret")


@pytest.mark.parametrize("store", ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"])
def test_a_relative_source_is_looked_for_in_the_stores(credentials, tmp_path, store):
    place(tmp_path, f"{store}/token", "t")
    assert credentials(LoadCredential=[["TOKEN", "token"]]).find("TOKEN", tmp_path).text == "t"


def test_an_encrypted_credential_is_there_but_not_read(credentials, tmp_path):
    place(tmp_path, "/etc/credstore.encrypted/token", "cipher")
    found = credentials(LoadCredentialEncrypted=[["TOKEN", "token"]]).find("TOKEN", tmp_path)
    assert (found.text, found.path) == (None, "/etc/credstore.encrypted/token")


@pytest.mark.parametrize("kind", ["SetCredential", "SetCredentialEncrypted"])
def test_a_credential_in_the_unit_itself_is_there(credentials, tmp_path, kind):
    found = credentials(**{kind: [["TOKEN", [116, 111]]]})
    assert found.find("TOKEN", tmp_path).text is None
    assert found.find("OTHER", tmp_path) is None


def test_one_in_the_unit_stands_in_for_a_source_that_is_not_there(credentials, tmp_path):
    found = credentials(LoadCredential=[["TOKEN", "token"]], SetCredential=[["TOKEN", [116]]])
    assert found.find("TOKEN", tmp_path) == Value(None, "a credential in the unit itself")


@pytest.mark.parametrize(("path", "said"), [("/etc/none", "no /etc/none"), ("none", "none of /etc/credstore/none,")])
def test_a_source_that_is_not_there_is_refused_since_the_unit_would_not_start(credentials, tmp_path, path, said):
    with pytest.raises(Refusal) as refused:
        credentials(LoadCredential=[["TOKEN", path]]).find("TOKEN", tmp_path)
    assert refused.value.reason == "credential_missing"
    assert refused.value.found.startswith(said)


def test_a_directory_of_credentials_names_each_of_its_files(credentials, tmp_path):
    place(tmp_path, "/etc/keys/db", "x")
    found = credentials(LoadCredential=[["keys", "/etc/keys"]])
    assert found.find("keys_db", tmp_path).text == "x"
    with pytest.raises(Refusal):
        found.find("keys_none", tmp_path)


@pytest.mark.parametrize(("store", "text"), [("/etc/credstore", "x"), ("/etc/credstore.encrypted", None)])
def test_imported_credentials_are_found_in_the_stores(credentials, tmp_path, store, text):
    place(tmp_path, f"{store}/app.token", "x")
    found = credentials(ImportCredential=["app.*"])
    assert found.find("app.token", tmp_path).text == text
    assert found.find("app.none", tmp_path) is None
    assert found.find("other", tmp_path) is None


def test_a_credential_that_is_no_text_or_no_file_is_there_but_not_read(credentials, tmp_path):
    place(tmp_path, "/etc/keys/bytes", b"\xff\xfe")
    (tmp_path / "etc/keys/directory").mkdir()
    found = credentials(LoadCredential=[["BYTES", "/etc/keys/bytes"], ["DIRECTORY", "/etc/keys/directory"]])
    assert found.find("BYTES", tmp_path).text is None
    assert found.find("DIRECTORY", tmp_path).text is None


def test_a_unit_without_credentials_has_none(tmp_path):
    assert Credentials().find("TOKEN", tmp_path) is None


@pytest.mark.parametrize(
    "output",
    ["", "Failed to connect to bus: No such file or directory\n", json.dumps({"data": []}), '{"data": []}\n[]\n'],
)
def test_where_the_bus_does_not_answer_the_credentials_are_unknown(output):
    def run(argv, **_options):
        return Finished(1, output if argv[0] == "busctl" else "LoadState=loaded\n")

    with pytest.raises(Refusal) as refused:
        Unit.ask("shop.service", run).credentials()
    assert refused.value.reason == "credentials_unknown"

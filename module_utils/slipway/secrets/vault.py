# SPDX-License-Identifier: GPL-3.0-or-later
"""HashiCorp Vault and OpenBao, key/value version 2, spoken to by hvac.

Every answer that is not one is sorted here: no answer in time, no connection, sealed or without a leader (503) and a gateway that reaches nobody (502, 503)
or waited in vain (504) are Unavailable; 404 is Unknown, after a look at whether a mount of version 2 is there at all; 403 is a Refusal, after a look at whether only
the token is over; everything else is a Refusal too.
Texts of Vault are not repeated: some have in them what was sent. Redirects are not followed, since the token would go along, and neither
proxies nor VAULT_* variables of the environment are asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from ..base.errors import Refusal
from ..base.files import is_filled
from ..base.together import within
from .credential import read_credential
from .login import Logins, Token
from .provider import Entry, Standing, Unavailable, Unknown, denied, failed, is_about_certificate, overtaken, untrusted
from .secret import NAME, Secret, fields_of
from .volatile import hashed

METHODS: Final = ("approle", "jwt", "token")
DEEPEST: Final = 8
# How Vault and OpenBao tell a token that they take that it has no right at a mount; of one that is over they say less.
OF_POLICY: Final = "ensure client's policies grant access"
# What a mount or a secret says that takes nothing without a version to replace (cas_required).
CAS_NEEDED: Final = "check-and-set parameter required"
T = TypeVar("T")


@dataclass(frozen=True)
class VaultSettings:
    """Where a Vault is and as whom it is asked. Of credentials there are paths only."""

    url: str
    auth: str
    ca_path: Path | None = None
    namespace: str = ""
    mount: str = "secret"
    prefix: str = ""
    auth_mount: str = ""
    role: str = ""
    role_id_path: Path | None = None
    secret_id_path: Path | None = None
    token_path: Path | None = None
    jwt_path: Path | None = None
    timeout_seconds: float = 5.0


class _Forbidden(Exception):
    """An answer of 403, of which it is not known yet what it means. ``is_of_policy`` where it says that a policy is in the way."""

    def __init__(self, *, is_of_policy: bool) -> None:
        self.is_of_policy = is_of_policy
        super().__init__()


class _NotFound(Unknown):
    """An answer of 404; ``is_plain`` where a key/value mount may have given it, and nobody who has no such mount."""

    def __init__(self, *, is_plain: bool) -> None:
        self.is_plain = is_plain
        super().__init__()


@dataclass
class Vault:
    """One key/value mount of a Vault, as one identity."""

    ends_versions: ClassVar[bool] = True
    label: str
    settings: VaultSettings
    logins: Logins = field(repr=False)
    lacking: Callable[[str], Refusal] | None = field(
        default=None, repr=False, compare=False
    )  # of a job without its AppRole
    _at_mount: str | None = field(default=None, init=False, repr=False)

    @property
    def origin(self) -> Sequence[str]:
        about = self.settings
        return ("vault", about.url, about.namespace, about.mount, about.prefix, about.auth, self._identity())

    def read(self, name: str, version: str | None = None) -> Secret:
        if version is not None and not version.isdigit():
            raise Unknown(name)

        def question(client: Any) -> Secret:
            answer = client.secrets.kv.v2.read_secret_version(
                self._path(name),
                version=int(version) if version else None,
                mount_point=self.settings.mount,
                raise_on_deleted_version=True,
            )
            data, about, lease = answer["data"]["data"], answer["data"]["metadata"], answer.get("lease_duration", 0)
            kind, description = _description(about)
            number, seconds = _whole(about["version"]), _whole(lease)
            return Secret(name, fields_of(name, data), kind, description, str(number), seconds or None)

        return self._asked_of_mount(name, question)

    def entries(self) -> list[Entry]:
        try:
            return self._asked_of_mount(
                self.settings.prefix or "/", lambda client: sorted(self._below(client, ""), key=_by_name)
            )
        except Unknown:  # nothing is below the prefix
            return []

    def write(self, secret: Secret) -> str:
        from hvac import exceptions

        def question(client: Any) -> str:
            keys, place = client.secrets.kv.v2, {"path": self._path(secret.name), "mount_point": self.settings.mount}
            about = {"type": secret.kind, "description": secret.description}
            # The values last: what fails before has changed none of them.
            keys.update_metadata(custom_metadata={key: text for key, text in about.items() if text}, **place)
            try:
                return _version(keys.create_or_update_secret(secret=dict(secret.fields), **place))
            except exceptions.InvalidRequest as error:
                if CAS_NEEDED not in str(error):
                    raise
            newest = keys.read_secret_metadata(**place)["data"]["current_version"]
            with self._overtaken(secret.name, str(newest)):
                return _version(keys.create_or_update_secret(secret=dict(secret.fields), cas=newest, **place))

        return self._asked_of_mount(secret.name, question)

    def standing(self, name: str) -> Standing:
        place = {"path": self._path(name), "mount_point": self.settings.mount}

        def question(client: Any) -> Standing:
            about = client.secrets.kv.v2.read_secret_metadata(**place)["data"]
            number = str(_whole(about["current_version"]))
            newest = about["versions"].get(number)
            if newest is None or newest["destroyed"] or newest["deletion_time"]:
                raise Unknown(name)
            return Standing(number, _seconds(newest["created_time"]))

        return self._asked_of_mount(name, question)

    def version_after(self, version: str) -> str:
        return str(int(version) + 1)

    def replace(self, secret: Secret, before: str) -> None:
        def question(client: Any) -> None:
            with self._overtaken(secret.name, before):
                client.secrets.kv.v2.create_or_update_secret(
                    self._path(secret.name), dict(secret.fields), cas=int(before or 0), mount_point=self.settings.mount
                )

        self._asked_of_mount(secret.name, question)

    @contextmanager
    def _overtaken(self, name: str, before: str) -> Iterator[None]:
        """Tell a check-and-set that was too late from another bad request."""
        from hvac import exceptions

        try:
            yield
        except exceptions.InvalidRequest as error:
            if "check-and-set" not in str(error):
                raise
            raise overtaken(self.label, name, before) from None

    def retire(self, name: str, version: str, *, destroyed: bool) -> None:
        def question(client: Any) -> None:
            keys = client.secrets.kv.v2
            end = keys.destroy_secret_versions if destroyed else keys.delete_secret_versions
            end(self._path(name), [int(version)], mount_point=self.settings.mount)

        self._asked_of_mount(name, question)

    def remove(self, name: str) -> None:
        place = {"path": self._path(name), "mount_point": self.settings.mount}
        self._asked_of_mount(name, lambda client: client.secrets.kv.v2.delete_metadata_and_all_versions(**place))

    def ask(
        self, what: str, question: Callable[[Any], T], *, token: str | None = None, rejected: Exception | None = None
    ) -> T:
        """The answer to any other question, sorted as those to secrets are; ``what`` is what a 403 is said to be about.

        ``token`` asks as somebody else, once and without a login; ``rejected`` is raised where 400, 401 or 403 means something particular then.
        """
        from hvac import exceptions

        if token is None:
            return self._asked(what, question)
        try:
            with self._translated(login=rejected is not None):
                return question(self._client(token))
        except (_Forbidden, exceptions.InvalidRequest, exceptions.Unauthorized):
            raise rejected or denied(self.label, what, "403, permission denied") from None

    def _below(self, client: Any, directory: str, depth: int = 0) -> Iterator[Entry]:
        try:
            with self._translated():
                listed = client.secrets.kv.v2.list_secrets(self._path(directory), mount_point=self.settings.mount)
        except Unknown:  # an empty directory is none
            if not directory:
                raise
            return
        for key in listed["data"]["keys"]:
            name = f"{directory}{key}"
            if key.endswith("/"):
                if depth < DEEPEST:
                    yield from self._below(client, name, depth + 1)
            elif NAME.match(name):
                with self._translated():
                    about = client.secrets.kv.v2.read_secret_metadata(
                        self._path(name), mount_point=self.settings.mount
                    )["data"]
                yield Entry(name, *_description(about), str(_whole(about["current_version"])))

    def _path(self, name: str) -> str:
        return f"{self.settings.prefix}/{name}".strip("/")

    def _asked_of_mount(self, name: str, question: Callable[[Any], T]) -> T:
        """The answer to a question about a name. Where there is no mount of key/value version 2 every name would be unknown, and a default hold."""
        try:
            return self._asked(name, question)
        except _NotFound as error:
            found = self._found_at_mount() if error.is_plain else "no mount"
            if found:
                raise no_mount(self.settings.mount, found) from None
            raise

    def _found_at_mount(self) -> str:
        """What is there instead of key/value version 2, an empty text for nothing else that is known; looked at once in a run."""
        place = self.logins.place
        if self._at_mount is not None or place is None:
            self._at_mount = self._looked_at_mount() if self._at_mount is None else self._at_mount
            return self._at_mount
        entry = place.of_run(f"mount-{hashed(*self.origin)}")
        with place.locked(entry):
            if (known := place.read(entry)) is None:
                known = self._looked_at_mount().encode()
                place.write(entry, known)
        return known.decode()

    def _looked_at_mount(self) -> str:
        mount = self.settings.mount.strip("/")
        try:
            about = self._answer(self._mount_question, self._token())
        except (_Forbidden, Unknown):  # who may not look has still been told that there is no such name
            return ""
        path, engine, version = about
        if path != mount:
            return f"a part of the mount {path}"
        return "" if (engine, version) == ("kv", "2") else f"{engine}, version {version}"

    def _mount_question(self, client: Any) -> tuple[str, str, str]:
        """Where the mount is that has this path, which engine is there and in which version: who may do anything there may ask."""
        about = client.adapter.get(f"/v1/sys/internal/ui/mounts/{self.settings.mount.strip('/')}")["data"]
        return about["path"].strip("/"), str(about["type"]), str((about.get("options") or {}).get("version", "1"))

    def _asked(self, name: str, question: Callable[[Any], T]) -> T:
        token = self._token()
        try:
            return self._answer(question, token)
        except _Forbidden:
            if not self._is_over(token):
                raise denied(self.label, name, "403, permission denied") from None
        if self.settings.auth == "token":
            raise Refusal(
                "secret_token_expired",
                expected=f"a token in {self.settings.token_path} that {self.label} takes",
                found="one that is over, or was revoked",
                remedy="Get a new one (vault login), then run the same command again.",
            )
        try:
            return self._answer(question, self._token(rejected=token))
        except _Forbidden:
            raise denied(self.label, name, "403, permission denied, also after a new login") from None

    def _answer(self, question: Callable[[Any], T], token: str) -> T:
        with self._translated():
            return question(self._client(token))

    def _is_over(self, token: str) -> bool:
        """Whether Vault takes a token no more. Of one that it takes this question needs no policy, unlike lookup-self."""
        try:
            self._answer(self._mount_question, token)
        except _Forbidden as error:
            return not error.is_of_policy
        except Unknown:  # somebody else's: then a 403 is what it says
            return False
        return False

    def _token(self, rejected: str | None = None) -> str:
        about = self.settings
        if about.auth == "token":
            return self._credential(about.token_path, "token")
        return self.logins.token(self.origin, self._login, rejected=rejected)

    def _login(self) -> Token:
        from hvac import exceptions

        about = self.settings
        client = self._client("")
        try:
            with self._translated(login=True):
                if about.auth == "approle":
                    answer = client.auth.approle.login(
                        role_id=self._credential(about.role_id_path, "role id", private=False),
                        secret_id=self._credential(about.secret_id_path, "secret id") if about.secret_id_path else None,
                        mount_point=about.auth_mount or "approle",
                        use_token=False,
                    )
                else:
                    answer = client.auth.jwt.jwt_login(
                        role=about.role,
                        jwt=self._credential(about.jwt_path, "JWT", private=False),
                        path=about.auth_mount or "jwt",
                        use_token=False,
                    )
        except (_Forbidden, Unknown, exceptions.InvalidRequest, exceptions.Unauthorized):
            raise Refusal(
                "secret_login_refused",
                expected=f"{self.label} to let this identity log in ({about.auth} at {about.auth_mount or about.auth})",
                found="a refusal of the credentials",
                remedy="Have a new secret id or JWT issued, or correct auth_mount and the paths; other providers were not asked.",
            ) from None
        except Unavailable as error:  # a login may use up a secret id: one that may have arrived is not tried again
            raise Unavailable(error.why, passing=error.passing and error.unsent) from None
        try:
            token, seconds = answer["auth"]["client_token"], answer["auth"]["lease_duration"]
        except (KeyError, TypeError):  # hvac hands on whatever it is: another object, or the page of a proxy
            token, seconds = None, None
        if not token or not isinstance(token, str) or not isinstance(seconds, int):
            raise failed(self.label, "an answer to the login without a token")
        return Token(token, seconds or None)

    def _identity(self) -> str:
        """Another identity, another answer; the words themselves are hashed."""
        about = self.settings
        if about.auth == "approle":
            return hashed(self._credential(about.role_id_path, "role id", private=False))
        if about.auth == "jwt":
            return hashed(about.role, self._credential(about.jwt_path, "JWT", private=False))
        return hashed(self._credential(about.token_path, "token"))

    def _credential(self, path: Path | None, what: str, *, private: bool = True) -> str:
        assert path is not None  # noqa: S101 - for the type checker; settings that lack it are refused
        if self.lacking and self.settings.auth == "approle" and not is_filled(path):
            raise self.lacking(f"the {what} of {self.label} in {path}")
        return read_credential(path, label=self.label, what=what, private=private)

    def _client(self, token: str) -> Any:
        import hvac
        import requests

        seconds = self.settings.timeout_seconds
        session: Any = requests.Session()
        send = session.send  # which bounds each wait for more of an answer, and not the whole one

        def sent(request: Any, **about: Any) -> Any:
            answer = within(seconds, lambda: send(request, **about))
            if answer.status_code == 504:  # for which hvac has no exception of its own
                raise TimeoutError
            return answer

        session.send = sent
        session.trust_env = False
        session.verify = str(self.settings.ca_path) if self.settings.ca_path else True
        return hvac.Client(
            url=self.settings.url, token=token, namespace=self.settings.namespace or None, session=session,
            timeout=seconds, allow_redirects=False,
        )  # fmt: skip

    @contextmanager
    def _translated(self, *, login: bool = False) -> Iterator[None]:
        from hvac import exceptions
        from requests import exceptions as transport

        try:
            yield
        except exceptions.Forbidden as error:
            raise _Forbidden(is_of_policy=OF_POLICY in str(error)) from None
        except exceptions.InvalidPath as error:
            raise _NotFound(is_plain=_is_plain(error.text)) from None
        except (exceptions.VaultDown, exceptions.BadGateway) as error:
            is_sealed = "sealed" in (error.text or "")
            raise Unavailable("sealed" if is_sealed else "unreachable", passing=not is_sealed) from None
        except (exceptions.InvalidRequest, exceptions.Unauthorized) as error:
            if login:
                raise
            raise failed(self.label, f"{type(error).__name__} for its answer") from None
        except exceptions.VaultError as error:
            raise failed(self.label, f"{type(error).__name__} for its answer") from None
        except (transport.Timeout, TimeoutError):
            raise Unavailable("timed out", passing=False) from None
        except (transport.ConnectionError, transport.ChunkedEncodingError) as error:
            if is_about_certificate(error):
                raise untrusted(self.label, self.settings.url) from None
            raise Unavailable("unreachable", unsent=_is_unsent(error)) from None
        except transport.RequestException as error:
            raise failed(self.label, type(error).__name__) from None
        except (AttributeError, LookupError, TypeError, ValueError):  # where hvac or we look for what is not in it
            raise failed(self.label, "an answer that is none of key/value version 2") from None
        except OSError as error:  # a ca_path that is no file
            raise failed(self.label, error.strerror or type(error).__name__) from None


def no_mount(mount: str, found: str) -> Refusal:
    """For a place where no secrets can be, whatever they are called."""
    return Refusal(
        "vault_mount_missing",
        expected=f"a key/value mount of version 2 at {mount}",
        found=found,
        remedy=f"Enable it (vault secrets enable -path={mount} -version=2 kv), or correct mount in secrets_providers.",
    )


def _is_plain(text: str | None) -> bool:
    """Whether the body of a 404 is one of a key/value mount: without words on what is wrong, or about a version that was deleted."""
    try:
        body = json.loads(text or "")
    except ValueError:
        return False
    return isinstance(body, dict) and (body.get("errors") == [] or "data" in body)


def _is_unsent(error: Any) -> bool:
    """Whether no connection was made, or none that was ready to take a request."""
    from requests.exceptions import SSLError
    from urllib3.exceptions import NewConnectionError

    cause = error.args[0] if error.args else None
    return isinstance(error, SSLError) or isinstance(getattr(cause, "reason", None), NewConnectionError)


def _seconds(time: str) -> int:
    """Unix seconds of a time as Vault writes it: RFC 3339 with parts of a second."""
    return int(datetime.fromisoformat(f"{time[:19]}+00:00").timestamp())


def _version(answer: Any) -> str:
    """What a version that was written is called."""
    return str(_whole(answer["data"]["version"]))


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _description(about: Any) -> tuple[str | None, str]:
    """The kind of a secret, None where it has none, and what it is for, as its metadata say."""
    custom = about.get("custom_metadata") or {}
    kind, description = custom.get("type", ""), custom.get("description", "")
    if not isinstance(kind, str) or not isinstance(description, str):
        raise TypeError
    return kind or None, description


def _by_name(entry: Entry) -> str:
    return entry.name

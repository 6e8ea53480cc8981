# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Secrets Manager, spoken to by boto3. Who this machine is, boto3 finds out as it always does: roles, profiles, variables.

A secret is a JSON object of texts, or one text. Its kind is a tag (``slipway-type``). boto3's own retries are off: ours count
(retries.py).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from ..base import canonical
from ..base.errors import Refusal
from ..base.together import within
from .provider import Entry, Standing, Unavailable, Unknown, denied, failed, is_about_certificate, overtaken, untrusted
from .secret import NAME, Secret, fields_of
from .volatile import hashed

KIND_TAG: Final = "slipway-type"
DENIED: Final = frozenset({
    "AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
    "SignatureDoesNotMatch", "MissingAuthenticationTokenException", "IncompleteSignature",
})  # fmt: skip
EXPIRED: Final = frozenset({"ExpiredTokenException", "ExpiredToken", "RequestExpired"})


@dataclass(frozen=True)
class AwsSettings:
    """Where to ask and as whom: a profile of boto3's, or none for what the machine is anyway."""

    region: str
    prefix: str = ""
    endpoint_url: str = ""
    profile: str = ""
    timeout_seconds: float = 5.0


@dataclass
class AwsSecretsManager:
    """The secrets below a prefix in one region, as one identity."""

    ends_versions: ClassVar[bool] = False  # one without a label can be read by its id for a day or more
    label: str
    settings: AwsSettings
    _made: Any = field(default=None, repr=False)

    @property
    def origin(self) -> Sequence[str]:
        about = self.settings
        return ("aws", about.region, about.endpoint_url, about.prefix, about.profile, self._identity())

    def read(self, name: str, version: str | None = None) -> Secret:
        given = {"VersionId": version} if version else {}
        with self._translated(name):
            answer = self._client().get_secret_value(SecretId=self._id(name), **given)
            document, number = _document(answer.get("SecretString")), answer["VersionId"]
        return Secret(name, fields_of(name, document), version=number)

    def entries(self) -> list[Entry]:
        found = []
        with self._translated(self.settings.prefix or "*"):
            given = {"Filters": [{"Key": "name", "Values": [self.settings.prefix]}]} if self.settings.prefix else {}
            for page in self._client().get_paginator("list_secrets").paginate(**given):
                for about in page["SecretList"]:
                    name = str(about["Name"]).removeprefix(self.settings.prefix)
                    if str(about["Name"]).startswith(self.settings.prefix) and NAME.match(name):
                        versions = about.get("SecretVersionsToStages", {})
                        newest = [each for each, stages in versions.items() if "AWSCURRENT" in stages]
                        found.append(Entry(name, _kind(about), about.get("Description", ""), "".join(newest)))
        return sorted(found, key=lambda entry: entry.name)

    def write(self, secret: Secret) -> str:
        text = canonical.encode(dict(secret.fields)).decode()
        tags = [{"Key": KIND_TAG, "Value": secret.kind or ""}]
        client = self._client()
        with self._translated(secret.name):
            try:
                client.describe_secret(SecretId=self._id(secret.name))
            except client.exceptions.ResourceNotFoundException:
                made = client.create_secret(
                    Name=self._id(secret.name), SecretString=text, Description=secret.description, Tags=tags
                )
                return str(made["VersionId"])
            client.update_secret(SecretId=self._id(secret.name), Description=secret.description)
            client.tag_resource(SecretId=self._id(secret.name), Tags=tags)
            return str(client.put_secret_value(SecretId=self._id(secret.name), SecretString=text)["VersionId"])

    def standing(self, name: str) -> Standing:
        version = self._labelled(name).get("AWSCURRENT")
        if version is None:
            raise Unknown(name)
        with self._translated(name):
            found = self._client().list_secret_version_ids(SecretId=self._id(name))["Versions"]
        made = next((each["CreatedDate"] for each in found if each["VersionId"] == version), None)
        return Standing(version, int(made.timestamp()) if made else None)

    def version_after(self, version: str) -> str:
        return str(uuid.uuid4())

    def replace(self, secret: Secret, before: str) -> None:
        text = canonical.encode(dict(secret.fields)).decode()
        if not before:
            self._create(secret, text)
            return
        if self.standing(secret.name).version != before:
            raise overtaken(self.label, secret.name, before)
        with self._translated(secret.name):
            self._client().put_secret_value(
                SecretId=self._id(secret.name), SecretString=text, ClientRequestToken=secret.version
            )

    def _create(self, secret: Secret, text: str) -> None:
        client = self._client()
        with self._translated(secret.name):
            try:
                client.create_secret(Name=self._id(secret.name), SecretString=text)
            except client.exceptions.ResourceExistsException:
                raise overtaken(self.label, secret.name, "") from None

    def retire(self, name: str, version: str, *, destroyed: bool) -> None:
        """A version without a label is one that AWS removes, a day later at the soonest; until then it can be read by its id."""
        if self._labelled(name).get("AWSPREVIOUS") == version:
            with self._translated(name):
                self._client().update_secret_version_stage(
                    SecretId=self._id(name), VersionStage="AWSPREVIOUS", RemoveFromVersionId=version
                )

    def remove(self, name: str) -> None:
        with self._translated(name):  # also for a name that is not there: AWS has nothing against it then
            self._client().delete_secret(SecretId=self._id(name), ForceDeleteWithoutRecovery=True)

    def _labelled(self, name: str) -> dict[str, str]:
        """Which version has which label."""
        with self._translated(name):
            versions = self._client().describe_secret(SecretId=self._id(name)).get("VersionIdsToStages", {})
        return {label: version for version, labels in versions.items() for label in labels}

    def _id(self, name: str) -> str:
        return f"{self.settings.prefix}{name}"

    def _identity(self) -> str:
        with self._translated("credentials"):
            credentials = self._client()._request_signer._credentials
        return hashed(credentials.access_key) if credentials else ""

    def _client(self) -> Any:
        if self._made is None:
            import boto3
            from botocore.config import Config

            about = self.settings
            self._made = boto3.session.Session(profile_name=about.profile or None).client(
                "secretsmanager", region_name=about.region, endpoint_url=about.endpoint_url or None,
                config=Config(
                    connect_timeout=about.timeout_seconds, read_timeout=about.timeout_seconds,
                    retries={"total_max_attempts": 1},
                ),
            )  # fmt: skip
            # boto3 bounds each wait for more of an answer; what a handler of this event returns is the whole one.
            self._made.meta.events.register("before-send.secrets-manager", self._send)
        return self._made

    def _send(self, request: Any, **_about: Any) -> Any:
        return within(self.settings.timeout_seconds, lambda: self._made._endpoint.http_session.send(request))

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        from botocore import exceptions
        from botocore.parsers import ResponseParserError

        try:
            yield
        except exceptions.ClientError as error:
            raise self._sorted(name, str(error.response.get("Error", {}).get("Code", "")), error) from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound):
            raise Refusal(
                "secret_credential_missing",
                expected=f"credentials for {self.label}",
                found="none that boto3 finds",
                remedy="Give the machine a role, name a profile in secrets_providers, or run `aws configure`.",
            ) from None
        except (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError, TimeoutError):
            raise Unavailable("timed out", passing=False) from None
        except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
            if is_about_certificate(error):
                raise untrusted(self.label, self.settings.endpoint_url or self.settings.region) from None
            raise Unavailable("unreachable") from None
        except exceptions.BotoCoreError as error:
            raise failed(self.label, type(error).__name__) from None
        except (ResponseParserError, AttributeError, LookupError, TypeError, ValueError):
            raise failed(self.label, "an answer that is none of Secrets Manager") from None

    def _sorted(self, name: str, code: str, error: Any) -> Exception:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "ResourceNotFoundException":
            return Unknown(name)
        if code == "InvalidRequestException" and "marked" in str(error.response["Error"].get("Message", "")):
            return Unknown(name)  # one that is going to be deleted
        if code in EXPIRED:
            return Refusal(
                "secret_token_expired",
                expected=f"credentials that {self.label} takes",
                found="ones that are over",
                remedy="Get new ones (aws sso login, or a new session), then run the same command again.",
            )
        if code in DENIED or status == 403:
            return denied(self.label, name, code or "403")
        if status in (502, 503, 504):
            return Unavailable("unreachable") if status < 504 else Unavailable("timed out", passing=False)
        return failed(self.label, code or f"code {status}")


def _kind(about: dict[str, Any]) -> str | None:
    return next((tag["Value"] for tag in about.get("Tags", []) if tag["Key"] == KIND_TAG), None) or None


def _document(text: str | None) -> Any:
    """The object in a text, or the text itself where it is none; nothing for a binary secret."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text

# SPDX-License-Identifier: GPL-3.0-or-later
"""Launches a job template or a workflow of an AWX once, and follows it to its end: what a pipeline does after it has published a release."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from typing import Any, Final, TypeVar

from ..base.clock import Clock
from ..base.errors import Refusal, kind_of, quoted, shown
from .given import marks_in
from .job_api import Api, Unavailable

KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,127}")
KEY_VARIABLE: Final = "slipway_launch_key"
TEMPLATES: Final = {"job": "job_templates", "workflow": "workflow_job_templates"}
ENDED: Final = ("successful", "failed", "error", "canceled")
POLL_SECONDS, PAUSE_SECONDS, MOST_PAUSE_SECONDS = 5.0, 2.0, 60.0
# After a launch was asked for, what leaves open whether it happened.
UNCERTAIN: Final = ("awx_answer_invalid", "awx_unreachable")
LOOKS: Final = 3  # for a job whose launch was not answered, before it is launched again
PAGE: Final = 200
RECENT: Final = 50
ENCRYPTED: Final = "$encrypted$"  # what AWX shows of an answer that is secret
Part = TypeVar("Part")
CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x20-\x7e\xa0-\U0010ffff\t]")


class Exit(IntEnum):
    """Exit codes of a launch."""

    SUCCESSFUL = 0
    FAILED = 1
    USAGE = 2
    CANCELED = 3
    REFUSED = 4
    TIMED_OUT = 5
    UNREACHABLE = 6
    AMBIGUOUS = 7
    NOT_PROMPTED = 8
    NOT_MADE = 9
    STOPPED = 143  # as a shell says of SIGTERM


EXIT_CODES: Final = {
    "awx_unreachable": Exit.UNREACHABLE,
    "template_ambiguous": Exit.AMBIGUOUS,
    "prompts_not_allowed": Exit.NOT_PROMPTED,
    "deadline_over": Exit.TIMED_OUT,
    "launch_differs": Exit.USAGE,
    "usage": Exit.USAGE,
}


def exit_code(refusal: Refusal) -> int:
    """The exit code of a launch that was refused."""
    return EXIT_CODES.get(refusal.reason, Exit.REFUSED)


@dataclass(frozen=True)
class Request:
    """What is launched: a template by its name, of one ``kind`` (job, workflow) or of either (""), maybe of one ``organization``.

    ``variables`` are its extra variables, ``limit`` its hosts. ``key`` names this launch: a job that has it already is followed instead.
    """

    template: str
    key: str
    kind: str = ""
    organization: str = ""
    limit: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refusal ``usage``."""
        if not KEY.fullmatch(self.key):
            raise Refusal(
                "usage",
                expected="a key of 8 to 128 letters, digits, dots, dashes, colons and underscores that no other launch has",
                found=quoted(self.key) if self.key else "none",
                remedy="Give --key; GitHub and GitLab have what makes one in the environment.",
            )
        templated = [name for name, value in {**self.variables, "--limit": self.limit}.items() if marks_in(value)]
        if templated or KEY_VARIABLE in self.variables:
            raise Refusal(
                "usage",
                expected=f"a limit and variables that Ansible takes as they are, and none called {KEY_VARIABLE}",
                found=", ".join(templated) or KEY_VARIABLE,
                remedy="Correct --variable or --limit.",
            )

    @property
    def given(self) -> dict[str, Any]:
        return {**self.variables, KEY_VARIABLE: self.key}


@dataclass(frozen=True)
class Job:
    """A job or workflow job of the AWX; ``url`` is its path in the API."""

    number: int
    kind: str
    url: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Job:
        try:
            return cls(int(answer["id"]), str(answer["type"]), str(answer["url"]))
        except (KeyError, TypeError, ValueError):
            raise Refusal(
                "awx_answer_invalid",
                expected="the id, type and url of a job",
                found=", ".join(sorted(map(str, answer))) or "nothing",
                remedy="Look whether CONTROLLER_HOST is an AWX.",
            ) from None


@dataclass(frozen=True)
class Launcher:
    """``say`` prints a line; ``deadline`` is on the clock's elapsed seconds."""

    api: Api
    clock: Clock
    say: Callable[[str], None]
    deadline: float

    def launch(self, request: Request) -> Job:
        """The job of a request: the one that has its key already, or a new one.

        1. The template is found by its name, and takes what is given: what it ignores would run with other values.
        2. A launch that is not answered may have happened: its key is looked for before it is tried again.
        Refusals: ``template_unknown``, ``template_ambiguous``, ``prompts_not_allowed``, ``launch_differs`` (the job that has the key does something
        else), ``awx_unreachable``, ``deadline_over``, those of Api.
        """
        path = self._taking(request)
        if job := self._found(path, request):
            self.say(f"launched before with the key {request.key}: {self.api.link(job.kind, job.number)}")
            return job
        body = {"extra_vars": request.given, **({"limit": request.limit} if request.limit else {})}
        try:
            return self._launched(path, request, body)
        except Refusal as refusal:
            if refusal.reason in UNCERTAIN:
                self.say(f"a job with the key {request.key} may have been launched")
            raise

    def _launched(self, path: str, request: Request, body: Mapping[str, Any]) -> Job:
        pauses = self._pauses()
        while True:
            try:
                answer = self.api.post(f"{path}launch/", body)
            except Unavailable as lost:
                self.say(f"the launch was not answered ({lost}); looking for the key {request.key}")
                self._pause(max(next(pauses), lost.retry_seconds), lost)
                if job := self._looked_for(path, request):
                    return job
                continue
            job = Job.of(answer)
            if ignored := answer.get("ignored_fields"):
                self._cancel_quietly(job)
                named = sorted(ignored) if isinstance(ignored, dict) else [str(ignored)]
                raise _prompts(named, "was launched without them and cancelled")
            self.say(f"launched {request.template}: {self.api.link(job.kind, job.number)}")
            return job

    def judge(self, request: Request) -> None:
        """Refuse now what ``launch`` would refuse before it launches; nothing is launched."""
        self._found(self._taking(request), request)

    def follow(self, job: Job) -> int:
        """Tell what the job does until it has ended; its exit code. Refusals: ``deadline_over``, ``awx_unreachable``, those of Api.

        A workflow of which any job failed has failed here, whatever followed on its failure: AWX calls it successful when something did.
        Whatever ends this before the job's end, the job goes on, and that is said.
        """
        status, seen, told = "", 0, dict[int, str]()
        try:
            while True:
                now = self._get(job.url)
                was, status = status, _part(now, "status", str)
                seen = self._tell_output(job, seen) if job.kind == "job" else seen
                if job.kind == "workflow_job":
                    self._tell_nodes(job, told)
                if status != was:
                    self.say(f"{job.kind} {job.number}: {status}")
                if status in ENDED:
                    return self._ended(job, now)
                self._require_time(f"{job.kind} {job.number} to end", f"it is {status}")
                self.clock.sleep(POLL_SECONDS)
        except Refusal:
            does = f"ended as {status}" if status in ENDED else "goes on"
            self.say(
                f"{job.kind} {job.number} is not followed any more, and {does}: {self.api.link(job.kind, job.number)}"
            )
            raise

    def cancel(self, job: Job) -> None:
        """Ask the AWX to end the job."""
        self.api.post(f"{job.url}cancel/", {})

    def stop(self, request: Request, job: Job | None, *, cancels: bool) -> None:
        """What a signal does. By default the job goes on: a deployment that is cut off leaves hosts waiting for their dead-man."""
        if job is None:
            self.say(f"stopped; a job with the key {request.key} may have been launched")
        elif cancels:
            self._cancel_quietly(job)
            self.say(f"stopped; its cancellation was asked for: {self.api.link(job.kind, job.number)}")
        else:
            self.say(f"stopped; the job goes on: {self.api.link(job.kind, job.number)}")

    def _ended(self, job: Job, now: Mapping[str, Any]) -> int:
        status = _part(now, "status", str)
        why = _plain(str(now.get("job_explanation") or ""))
        if status == "successful" and (failed := self._not_successful(job)):
            self.say(
                f"failed: {', '.join(failed)}; what follows on that was successful: {self.api.link(job.kind, job.number)}"
            )
            return Exit.FAILED
        self.say(f"{status}{f': {why}' if why else ''}: {self.api.link(job.kind, job.number)}")
        return {"successful": Exit.SUCCESSFUL, "canceled": Exit.CANCELED}.get(status, Exit.FAILED)

    def _taking(self, request: Request) -> str:
        """The path in the API of the template that takes what is given."""
        kind, template = self._template(request)
        path = f"/api/v2/{TEMPLATES[kind]}/{_part(template, 'id', int)}/"
        self._require_prompts(path, request)
        return path

    def _template(self, request: Request) -> tuple[str, Mapping[str, Any]]:
        kinds = [request.kind] if request.kind else list(TEMPLATES)
        query = {
            "name": request.template,
            **({"organization__name": request.organization} if request.organization else {}),
        }
        found = [(kind, each) for kind in kinds for each in self._listed(f"/api/v2/{TEMPLATES[kind]}/", **query)]
        if not found:
            raise Refusal(
                "template_unknown",
                expected=f"a {' or '.join(kinds)} template {request.template} that the token may see",
                found="none",
                remedy="Correct --template or --organization, or let whoever has the token execute it.",
            )
        if len(found) > 1:
            raise Refusal(
                "template_ambiguous",
                expected=f"one template {request.template}",
                found=", ".join(f"{kind} template {each['id']}{_organization(each)}" for kind, each in found),
                remedy="Give --kind or --organization.",
            )
        return found[0]

    def _require_prompts(self, path: str, request: Request) -> None:
        """Refuse before the launch what the template would ignore, or would ask a person for."""
        asks = self._get(f"{path}launch/")
        wrong = [f"{name} is asked for" for name in asks.get("passwords_needed_to_start") or ()]
        wrong += [
            f"{name} is asked for" for name in asks.get("variables_needed_to_start") or () if name not in request.given
        ]
        if request.limit and not asks.get("ask_limit_on_launch"):
            wrong.append("limit is not taken")
        if not asks.get("ask_variables_on_launch"):
            survey = self._get(f"{path}survey_spec/") if asks.get("survey_enabled") else {}
            taken = {str(each.get("variable")) for each in (_objects(survey, "spec") if survey else ())}
            wrong += [f"{name} is not taken" for name in request.given if name not in taken]
        if wrong:
            raise _prompts(wrong, "was not launched")

    def _found(self, path: str, request: Request) -> Job | None:
        """The newest job of a template that was launched with a key; the API does not search extra variables."""
        lists = ("jobs", "slice_workflow_jobs") if "/job_templates/" in path else ("workflow_jobs",)
        for name in lists:
            for each in self._listed(f"{path}{name}/", order_by="-id", page_size=RECENT):
                if _variables(each).get(KEY_VARIABLE) == request.key and not _is_part(each):
                    _require_same(each, request)
                    return Job.of(each)
        return None

    def _looked_for(self, path: str, request: Request) -> Job | None:
        for number in range(LOOKS):
            if job := self._found(path, request):
                self.say(f"it was launched: {self.api.link(job.kind, job.number)}")
                return job
            if number < LOOKS - 1:
                self.clock.sleep(PAUSE_SECONDS)
        return None

    def _tell_output(self, job: Job, seen: int) -> int:
        """What the job has printed since the event ``seen``; the number of the newest."""
        while True:
            events = self._listed(f"{job.url}job_events/", order_by="counter", counter__gt=seen, page_size=PAGE)
            for event in events:
                seen = max(seen, _part(event, "counter", int))
                for line in str(event.get("stdout") or "").splitlines():
                    self.say(f"| {_plain(line)}")
            if len(events) < PAGE:
                return seen

    def _tell_nodes(self, job: Job, told: dict[int, str]) -> None:
        """What has become of the nodes of a workflow, each change once, and who is waited for."""
        for number, each in self._nodes(job):
            name, status = _plain(str(each.get("name"))), _part(each, "status", str)
            if told.get(number) == status:
                continue
            told[number] = status
            if each.get("type") == "workflow_approval" and status == "pending":
                self.say(f"  {name}: waits for an approval: {self.api.link(job.kind, job.number)}")
            else:
                self.say(f"  {name}: {status}")

    def _nodes(self, job: Job) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The nodes of a workflow that have begun: the number of each, and the summary of its job."""
        for page in count(1):
            answer = self._get(f"{job.url}workflow_nodes/", order_by="id", page=page, page_size=PAGE)
            for node in _objects(answer, "results"):
                summary = _part(node, "summary_fields", dict)
                if summary.get("job"):
                    yield _part(node, "id", int), _part(summary, "job", dict)
            if not answer.get("next"):
                return

    def _not_successful(self, job: Job) -> list[str]:
        """The jobs of a workflow, and of workflows in it, that ended otherwise, with how; nothing for a job."""
        found = []
        for _number, each in self._nodes(job) if job.kind == "workflow_job" else ():
            if (status := _part(each, "status", str)) != "successful":
                found.append(f"{_plain(str(each.get('name')))} {status}")
            elif each.get("type") == "workflow_job":
                number = _part(each, "id", int)
                found += self._not_successful(Job(number, "workflow_job", f"/api/v2/workflow_jobs/{number}/"))
        return found

    def _cancel_quietly(self, job: Job) -> None:
        try:
            self.cancel(job)
        except (Refusal, Unavailable) as error:
            self.say(f"{job.kind} {job.number} could not be cancelled: {error}")

    def _get(self, path: str, **query: str | int) -> dict[str, Any]:
        pauses = self._pauses()
        while True:
            try:
                return self.api.get(path, **query)
            except Unavailable as lost:
                self._pause(max(next(pauses), lost.retry_seconds), lost)

    def _listed(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        return _objects(self._get(path, **query), "results")

    def _pauses(self) -> Iterator[float]:
        pause = PAUSE_SECONDS
        while True:
            yield pause
            pause = min(2 * pause, MOST_PAUSE_SECONDS)

    def _pause(self, seconds: float, lost: Unavailable) -> None:
        if self.clock.elapsed() + seconds > self.deadline:
            raise Refusal(
                "awx_unreachable",
                expected=f"an answer from {self.api.url}",
                found=str(lost),
                remedy="A job that was launched goes on without this. The same command with the same key follows it.",
            ) from None
        self.clock.sleep(seconds)

    def _require_time(self, expected: str, found: str) -> None:
        if self.clock.elapsed() + POLL_SECONDS > self.deadline:
            raise Refusal(
                "deadline_over",
                expected=f"{expected} in time",
                found=found,
                remedy="The same command with the same key follows it. --deadline-seconds says how long is waited.",
            )


def _prompts(wrong: list[str], outcome: str) -> Refusal:
    return Refusal(
        "prompts_not_allowed",
        expected="the template to take all that is given, and to ask for nothing else",
        found=f"{', '.join(wrong)}; it {outcome}",
        remedy="Let the template prompt for variables on launch, or add them to its survey (docs/howto/ci-cd.md).",
    )


def _part(answer: Mapping[str, Any], name: str, kind: type[Part]) -> Part:
    """What an answer has by a name. Refusal ``awx_answer_invalid``: a proxy may answer in the AWX's place."""
    found = answer.get(name)
    if not isinstance(found, kind):
        raise Refusal(
            "awx_answer_invalid",
            expected=f"{name} in an answer of the AWX, as {kind.__name__}",
            found=kind_of(found) if name in answer else shown(", ".join(sorted(map(str, answer))) or "nothing"),
            remedy="Look whether CONTROLLER_HOST is an AWX, and whether a proxy answers in its place.",
        )
    return found


def _objects(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return [_part({name: each}, name, dict) for each in _part(answer, name, list)]


def _organization(template: Mapping[str, Any]) -> str:
    organization = _part(template, "summary_fields", dict).get("organization") or {}
    return f" of {_part(organization, 'name', str)}" if organization else ""


def _variables(job: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(job.get("extra_vars") or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _require_same(job: Mapping[str, Any], request: Request) -> None:
    """A job that runs with other values is not the launch that was asked for, whatever its key."""
    variables = _variables(job)
    wrong = [name for name, value in request.given.items() if str(variables.get(name)) not in (value, ENCRYPTED)]
    if request.limit and job.get("limit") != request.limit:
        wrong.append("the limit")
    if wrong:
        raise Refusal(
            "launch_differs",
            expected=f"the key {request.key} to be that of this launch alone",
            found=f"job {job.get('id')} with it, in which {', '.join(wrong)} is not the same; nothing was launched",
            remedy="Give another --key, or the same values again to follow that job.",
        )


def _is_part(job: Mapping[str, Any]) -> bool:
    """A slice, or a job of a workflow, has the key of the whole."""
    is_slice = int(job.get("job_slice_count") or 1) > 1 and job.get("type") == "job"
    return is_slice or job.get("launch_type") == "workflow"


def _plain(line: str) -> str:
    """A line of a job's as text that commands neither a terminal nor a CI's runner: ``##[`` begins a command of GitHub's anywhere in a line."""
    return CONTROL.sub("", line).replace("##[", "# #[")

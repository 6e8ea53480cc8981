# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller as a witness: it keeps what every host last said of its history, and judges what it says next. Controller only.

With each exchange a host sends its newest signed checkpoint, and the proof that it goes on from the one that was kept here
last. The proof is verified, never assumed; then the checkpoint is cosigned (cosignature/v1) with the witness's key and kept
for ever. So a history that is cut off, rewritten or put back shows, whatever the host says of itself.

The outcomes of a `Verdict`:

intact        the history goes on from the newest checkpoint that was kept
torn          intact; a torn last line (a crash in the middle of a write) was set aside and recorded
first_seen    nothing was kept of this history yet: it is believed from here on
accepted      intact since an operator accepted it as it was then; told from then on, so that it is never taken for intact
truncated     it has fewer lines than were kept
restored      it, and the host's own checkpoint, are those of an older checkpoint that was kept: a snapshot put back
forked        it goes on from an older checkpoint that was kept, but not from the newest
rewritten     it goes on from nothing that was kept, or its own chain is broken
key_changed   signed with another key than the one that is pinned, or another machine answers under the name
foreign_checkpoint  the checkpoint of another host or application, or one that its key did not sign
unknown_witness     what was kept here is not cosigned by this controller's witness key
unjudged            the controller's own memory could not be read or written
unwitnessed         the same, and an operator said to go on without it: not trusted, and no reason to refuse
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal
from ..trust import checkpoint, merkle
from ..trust.checkpoint import Checkpoint
from ..trust.keys import PublicKey, generate_private_key, load_private_key
from ..trust.note import COSIGNATURE, Note, Verifier
from .memory import Acceptance, ControllerState, KeptCheckpoint, KnownHost
from .state_database import UNUSABLE
from .state_place import StatePlace, place_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TRUSTED: Final = ("intact", "torn", "first_seen", "accepted")
# What an operator may accept, since a backup that was put back explains it. Nothing honest explains a rewritten history.
ACCEPTABLE: Final = ("truncated", "restored", "forked", "key_changed", "unknown_witness")
# An operator's own word (slipway_state_required=false): deployments go on, and nothing is proven.
UNWITNESSED: Final = "unwitnessed"
SIZES_ASKED: Final = 1000
VERIFY: Final = "ansible-playbook playbooks/verify.yml"
# What a host refuses with when it finds its own history broken, and what that is called here.
REFUSED: Final = {"history_altered": "rewritten", "history_truncated": "truncated"}
NOT_HERE: Final = "application_not_bootstrapped"
# What a host itself finds of its history beside its own checkpoint, and what that is called here.
ALTERED: Final = {"altered": "rewritten", "truncated": "truncated"}
NEVER: Final = Acceptance()
_NOT_ACCEPTED: Final = "no backup explains it, unless one was put back by halves: put back history.jsonl and checkpoint of the same backup, or rebuild the host"
Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a witness says of one history; ``detail`` is a sentence for people."""

    outcome: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {self.detail}" if self.detail else self.outcome

    @property
    def is_trusted(self) -> bool:
        return self.outcome in TRUSTED

    def as_dict(self) -> dict[str, str]:
        return {"outcome": self.outcome, "detail": self.detail}


@dataclass(frozen=True)
class Memory:
    """What was known of one history before the host was asked.

    ``holder`` is the host that has the inventory name, ``pinned`` the host that answered as it was first seen, ``others`` are
    all other hosts; ``checkpoints`` were kept of this history since its newest ``acceptance``, the oldest first.
    """

    application: str
    witness: Verifier
    holder: KnownHost | None = None
    pinned: KnownHost | None = None
    others: Sequence[KnownHost] = ()
    checkpoints: Sequence[KeptCheckpoint] = ()
    acceptance: Acceptance = NEVER

    @property
    def newest(self) -> KeptCheckpoint | None:
        return self.checkpoints[-1] if self.checkpoints else None

    def witnessed(self) -> dict[str, int] | None:
        """What a request says of it: the size from which on the host is to prove its history."""
        return {"size": self.newest.size} if self.newest else None

    def sizes(self) -> list[int]:
        """The sizes whose roots tell where a history departs from what was kept; of very many the newest."""
        return [kept.size for kept in self.checkpoints[-SIZES_ASKED:]]


@dataclass(frozen=True)
class Said:
    """What a host said of one history: ``log`` {checkpoint, key, consistency, torn} of its answer, or nothing.

    ``roots`` are those at sizes that were asked for ({size in digits: 64 hex digits}); ``altered`` says how the host itself found its
    history broken.
    """

    host_id: str
    name: str
    log: Mapping[str, Any] | None
    roots: Mapping[str, Any] | None = None
    altered: Verdict | None = None


def verdict_in(answer: Answer) -> Verdict | None:
    """The verdict that an action plugin put into an answer. A host that answered and was not judged is not trusted."""
    if answer.get("witness"):
        return Verdict(str(answer["witness"]["outcome"]), str(answer["witness"]["detail"]))
    return Verdict("unjudged", "it said nothing of its history") if "active" in answer else None


def _since_acceptance(verdict: Verdict, acceptance: Acceptance) -> Verdict:
    """The verdict, which goes on telling that somebody accepted this history as it was at some time."""
    if not acceptance.accepted or verdict.outcome not in ("intact", "first_seen"):
        return verdict
    when, who = timestamp(acceptance.accepted), acceptance.accepted_by
    return Verdict(
        "accepted", f"{verdict.detail}; judged since {when} only, when {who} accepted what was {acceptance.outcome}"
    )


def untrusted(answers: Mapping[str, Answer]) -> dict[str, Verdict]:
    """The hosts whose histories are not trusted, with the verdicts."""
    verdicts = {host: verdict_in(answer) for host, answer in sorted(answers.items())}
    return {host: verdict for host, verdict in verdicts.items() if verdict and not verdict.is_trusted}


def host_of(answer: Answer, memory: Memory) -> str | None:
    """The id of the host that gave an answer, as it says itself; else of the one that was asked."""
    host, log = answer.get("host"), answer.get("log")
    if isinstance(host, Mapping) and host.get("id"):
        return str(host["id"])
    if memory.holder:
        return memory.holder.id
    try:
        return checkpoint.read(_note_in(log)).origin.split("/")[1] if isinstance(log, Mapping) else None
    except Refusal:
        return None


def _note_in(log: Mapping[str, Any]) -> bytes:
    """The signed checkpoint in what a host sent, which may be anything."""
    return str(log.get("checkpoint")).encode("utf-8", "replace")


def said_in(answer: Answer, memory: Memory, name: str) -> Said | None:
    """What an answer says of a history; None where it says nothing, since the host did not come so far."""
    host_id = host_of(answer, memory)
    log, reason = answer.get("log"), str(answer.get("reason")) if answer.get("failed") else ""
    if reason in REFUSED:
        return Said(host_id or "", name, None, altered=Verdict(REFUSED[reason], str(answer.get("found"))))
    if host_id and reason == NOT_HERE:
        return Said(host_id, name, None)
    if host_id is None or not isinstance(log, Mapping):
        return None
    roots, outcome = log.get("roots"), str(log.get("outcome"))
    return Said(
        host_id,
        name,
        log,
        roots={str(size): root for size, root in roots.items()} if isinstance(roots, Mapping) and roots else None,
        altered=Verdict(ALTERED[outcome], str(log.get("detail"))) if outcome in ALTERED else None,
    )


def runs_in(answer: Answer) -> list[Mapping[str, Any]] | None:
    """The runs that an answer to ``verify`` tells, None where it is no list of them: a host may send anything."""
    runs = answer.get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, Mapping) for run in runs):
        return None
    is_whole = all({"run_id", "controller_id"} <= run.keys() and type(run.get("seq")) is int for run in runs)
    return runs if is_whole else None


def judge(memory: Memory, said: Said) -> tuple[Verdict, Checkpoint | None]:
    """The verdict, and the checkpoint that the host's key did sign (None where it signed none)."""
    if said.log is None or said.log.get("checkpoint") is None:
        return said.altered or _of_nothing(memory.newest), None
    unsigned, found = _signed(memory, said)
    trouble = _other_machine(memory, said) or unsigned or said.altered
    if found is None or trouble is not None:
        return trouble or Verdict("foreign_checkpoint"), found
    return _of_growth(memory, said, found), found


def _of_nothing(newest: KeptCheckpoint | None) -> Verdict:
    if newest and newest.size:
        return Verdict("truncated", f"nothing that the host signed is there any more; {_kept(newest)}")
    return Verdict("first_seen", "nothing that the host signed is there yet")


def _of_growth(memory: Memory, said: Said, found: Checkpoint) -> Verdict:
    """Whether what the host's key signed goes on from the newest checkpoint that was kept."""
    newest = memory.newest
    if newest is None:
        return _torn(said) or Verdict("first_seen", f"{found.size} records, believed from here on")
    if not _is_cosigned(memory, newest):
        return Verdict("unknown_witness", f"{_kept(newest)}, without a cosignature of this controller's witness key")
    if found.size < newest.size:
        return _shrunken(memory, said, found, newest)
    try:
        merkle.verify_consistency(
            old_size=newest.size,
            old_root=bytes.fromhex(newest.root),
            size=found.size,
            root=found.root,
            proof=merkle.from_hex((said.log or {}).get("consistency"), what="the proof of a history"),
        )
    except Refusal as refusal:
        return _departed(memory, said, newest, refusal.found)
    return _torn(said) or Verdict("intact", f"{found.size} records")


def _other_machine(memory: Memory, said: Said) -> Verdict | None:
    """Whether the inventory's name is the one of another machine: one that nobody bootstrapped or accepted here under it."""
    if memory.holder is None or memory.holder.id == said.host_id:
        return None
    if memory.pinned and memory.pinned.name == said.name:
        return Verdict("restored", f"the machine {said.host_id}, whose place {memory.holder.id} had taken")
    return Verdict("key_changed", f"the machine {said.host_id} answers for {said.name}, which was {memory.holder.id}")


def _signed(memory: Memory, said: Said) -> tuple[Verdict | None, Checkpoint | None]:
    """The checkpoint that the host sent, if it is this history's and signed with the key that the host names."""
    log = said.log or {}
    try:
        key = PublicKey.from_hex(str(log.get("key")))
        is_pinned = memory.pinned is not None and memory.pinned.history_key == key.hex
        owner = next((other for other in memory.others if other.history_key == key.hex), None)
        if owner and not is_pinned:  # a machine that was bootstrapped anew may have kept its key
            return Verdict("foreign_checkpoint", f"signed with the key of {owner.name} ({owner.id})"), None
        found = checkpoint.verify(_note_in(log), key=key, origin=checkpoint.origin_of(said.host_id, memory.application))
    except Refusal as refusal:
        return Verdict("foreign_checkpoint", f"expected {refusal.expected}; found {refusal.found}"), None
    if memory.pinned and not is_pinned:
        detail = f"signed with {key.hex[:16]}…, pinned is {memory.pinned.history_key[:16]}…"
        return Verdict("key_changed", detail), found
    return None, found


def _is_cosigned(memory: Memory, kept: KeptCheckpoint) -> bool:
    """Whether the kept checkpoint says what the memory says of it, under this witness's own key."""
    try:
        note = Note.parse(kept.note.encode())
        told = Checkpoint.parse(note.text)
        return memory.witness.signed(note) is not None and (told.size, told.root.hex()) == (kept.size, kept.root)
    except Refusal:
        return False


def _shrunken(memory: Memory, said: Said, found: Checkpoint, newest: KeptCheckpoint) -> Verdict:
    """A history of fewer lines than were kept."""
    here = f"{found.size} records; {_kept(newest)}"
    same = next((kept for kept in memory.checkpoints if kept.size == found.size), None)
    if same and same.root == found.root.hex():
        return Verdict("restored", f"as it was at {timestamp(same.kept)}: {here}")
    if same:
        return _departed(memory, said, newest, f"other records than at {timestamp(same.kept)}")
    return Verdict("truncated", here)


def _departed(memory: Memory, said: Said, newest: KeptCheckpoint, found: str) -> Verdict:
    """A history that does not go on from the newest checkpoint: where it departs, the roots at the kept sizes tell."""
    roots = said.roots or {}
    older = [kept for kept in memory.checkpoints[:-1] if kept.size and roots.get(str(kept.size)) == kept.root]
    if older:
        return Verdict(
            "forked",
            f"the first {older[-1].size} records are those that were kept, the others are not; {_kept(newest)}",
        )
    told = "nothing that was kept fits" if said.roots is not None else found
    return Verdict("rewritten", f"{told}; {_kept(newest)}")


def _torn(said: Said) -> Verdict | None:
    torn = (said.log or {}).get("torn")
    if not isinstance(torn, list) or not torn:
        return None
    return Verdict("torn", f"set aside after a crash and recorded: {', '.join(map(str, torn))}")


def _kept(newest: KeptCheckpoint) -> str:
    return f"{newest.size} were kept at {timestamp(newest.kept)}"


def compare_runs(memory: ControllerState, host_id: str, application: str, runs: Sequence[Mapping[str, Any]]) -> Verdict:
    """Whether a host's records and the controller's own list of runs agree; ``runs`` are the host's, the oldest first.

    outcome: ``complete``; ``missing`` (the host said that it recorded a run, and has no record of it); ``unknown`` (records
    name this controller and no run of it). What was so when the history was accepted is accepted with it.
    """
    accepted = memory.acceptance(host_id, application)
    here, known, controller = {str(run["run_id"]) for run in runs}, memory.run_ids(application), memory.controller_id()
    recorded = memory.recorded_runs(host_id, application, since=accepted.accepted)
    if runs and runs[0]["seq"] > 0:  # the host tells only its newest records; run ids sort by time
        recorded = [run_id for run_id in recorded if run_id >= min(here)]
    missing = [run_id for run_id in recorded if run_id not in here]
    strange = {
        str(run["run_id"]) for run in runs if run["controller_id"] == controller and run["seq"] >= accepted.size
    } - known
    told = [f"no record of {', '.join(missing)}"] if missing else []
    told += [f"records of {', '.join(sorted(strange))}, which this controller never began"] if strange else []
    return Verdict("missing" if missing else "unknown" if strange else "complete", "; ".join(told))


@dataclass(frozen=True)
class Witness:
    """The controller's witness: its key, and its memory at the place of the controller's ``state`` or in that directory."""

    state: Path | StatePlace

    @property
    def place(self) -> StatePlace:
        return place_of(self.state)

    @property
    def key_path(self) -> Path:
        return self.place.key_path

    @cached_property
    def _memory(self) -> ControllerState:
        return ControllerState(self.place)

    def memory(self) -> ControllerState:
        """What the controller keeps."""
        return self._memory

    def unjudged(self, error: Exception) -> Verdict:
        """The verdict where there was no memory to judge by, or none to keep what was judged."""
        is_told = isinstance(error, Refusal) and error.reason in UNUSABLE and not self.place.is_required
        return Verdict(UNWITNESSED if is_told else "unjudged", str(error))

    def key(self) -> Ed25519PrivateKey:
        """The witness's key, made when it is first needed. It signs nothing but cosignatures, and is no approver's or builder's.

        Refusal ``witness_key_missing`` where controllers share what was cosigned already: a key of this one alone would distrust all of it.
        """
        if not self.key_path.exists():
            if self.place.is_shared and self.memory().keeps_checkpoints():
                raise Refusal(
                    "witness_key_missing",
                    expected=f"the key in {self.key_path} by which the checkpoints in {self.place} are cosigned",
                    found="no key",
                    remedy="Bring it from the controller that has it, or name it in slipway_witness_key (docs/howto/shared-state.md).",
                )
            try:
                return generate_private_key(self.key_path)
            except Refusal as refusal:
                if refusal.reason != "key_exists":  # another process was faster
                    raise
        return load_private_key(self.key_path)

    def name(self, memory: ControllerState) -> str:
        """The name that cosignatures are made under."""
        return f"slipway/witness/{memory.controller_id()}"

    def verifier(self) -> Verifier:
        """The public half, by which anybody can verify cosignatures."""
        return Verifier(self.name(self.memory()), PublicKey.of(self.key()), COSIGNATURE)

    def recall(self, name: str, application: str, host_id: str | None = None) -> Memory:
        """What is known of an application's history on the host with this inventory name.

        Which machine that is, only its answer tells; until then it is the one that had the name last.
        """
        kept = self.memory()
        hosts = kept.hosts()
        holder = next((host for host in reversed(hosts) if host.name == name), None)
        identity = host_id or (holder.id if holder else None)
        return Memory(
            application,
            self.verifier(),
            holder,
            next((host for host in hosts if host.id == identity), None),
            tuple(host for host in hosts if host.id != identity),
            tuple(kept.checkpoints(identity, application)) if identity else (),
            kept.acceptance(identity, application) if identity else NEVER,
        )

    def pin(self, answer: Answer, name: str, *, now: int) -> None:
        """Remember the key that a host named when it was bootstrapped: from then on no other speaks for it."""
        if answer.get("history_key") and not answer.get("failed"):
            host = KnownHost(str(answer["host"]["id"]), name, PublicKey.from_hex(str(answer["history_key"])).hex)
            self.memory().pin(host, now=now)

    def judge(self, memory: Memory, said: Said, *, now: int) -> Verdict:
        """Judge what a host said against what was known when it was asked; what is good is cosigned and kept."""
        verdict, found = judge(memory, said)
        if verdict.is_trusted and said.log and found:
            kept = self.memory()
            kept.pin(KnownHost(said.host_id, said.name, str(said.log["key"])), now=now)
            newest = memory.newest
            if newest is None or newest.size < found.size:
                kept.keep_checkpoint(said.host_id, memory.application, self._cosigned(said, found, now), after=newest)
        return _since_acceptance(verdict, memory.acceptance)

    def judge_answer(
        self, memory: Memory, answer: Answer, name: str, *, now: int, accepted_by: str | None = None
    ) -> Verdict | None:
        """The same for the answer of an exchange, whatever becomes of it: what was done on the host is done."""
        try:
            said = said_in(answer, memory, name)
            if said and accepted_by:
                return self.accept(memory, said, accepted_by=accepted_by, now=now)
            return self.judge(memory, said, now=now) if said else None
        except (Refusal, OSError) as error:
            return self.unjudged(error)

    def verified(
        self, memory: Memory, answer: Answer, name: str, *, accepted_by: str | None, now: int
    ) -> dict[str, dict[str, str] | None]:
        """What there is to say of one application's answer to ``verify``: {witness, own_runs}, null where it says nothing.

        With ``accepted_by`` a history that is not trusted is accepted, where it can be.
        """
        answer = {**answer, "log": answer.get("history")}
        verdict = self.judge_answer(memory, answer, name, accepted_by=accepted_by, now=now)
        own_runs = None
        if verdict and verdict.outcome not in ("unjudged", UNWITNESSED) and "runs" in answer:
            own_runs = self._compared(memory, answer, name, verdict, accepted_by=accepted_by, now=now)
        return {
            "witness": verdict.as_dict() if verdict else None,
            "own_runs": own_runs.as_dict() if own_runs else None,
        }

    def _compared(
        self, memory: Memory, answer: Answer, name: str, verdict: Verdict, *, accepted_by: str | None, now: int
    ) -> Verdict:
        said, runs = said_in(answer, memory, name), runs_in(answer)
        if said is None or runs is None:
            return Verdict("unknown", "what the host tells of its records is no list of runs")
        own_runs = compare_runs(self.memory(), said.host_id, memory.application, runs)
        if accepted_by is None or own_runs.outcome == "complete" or not verdict.is_trusted:
            return own_runs
        memory = self.recall(name, memory.application, said.host_id)
        found = judge(memory, said)[1]
        if found is None:
            return own_runs
        self._begin_anew(memory, said, found, why=own_runs, accepted_by=accepted_by, now=now)
        return Verdict("complete", f"accepted by {accepted_by}, was {own_runs}")

    def accept(self, memory: Memory, said: Said, *, accepted_by: str, now: int) -> Verdict:
        """Begin anew from what the host has now: an operator knows why it differs (a snapshot that was put back on purpose).

        What was kept before stays, with the reason why it no longer counts. A history that is trusted is judged as ever; and
        so is one whose own chain is broken, or whose checkpoint is not the host's: from that nothing can begin.
        """
        verdict, found = judge(memory, said)
        if verdict.is_trusted:
            return self.judge(memory, said, now=now)
        if verdict.outcome not in ACCEPTABLE or said.altered or found is None:
            return Verdict(verdict.outcome, f"{verdict.detail}; not accepted: {_NOT_ACCEPTED}")
        self._begin_anew(memory, said, found, why=verdict, accepted_by=accepted_by, now=now)
        return Verdict("accepted", f"by {accepted_by}, was {verdict}")

    def _begin_anew(
        self, memory: Memory, said: Said, found: Checkpoint, *, why: Verdict, accepted_by: str, now: int
    ) -> None:
        kept = self.memory()
        kept.accept(
            KnownHost(said.host_id, said.name, str((said.log or {})["key"])),
            memory.application,
            size=found.size,
            outcome=why.outcome,
            detail=why.detail,
            accepted_by=accepted_by,
            now=now,
        )
        kept.keep_checkpoint(said.host_id, memory.application, self._cosigned(said, found, now), after=None)

    def _cosigned(self, said: Said, found: Checkpoint, now: int) -> KeptCheckpoint:
        """The checkpoint as it is kept: its text, the one signature that was verified, and the cosignature."""
        log = said.log or {}
        note, host = Note.parse(str(log["checkpoint"]).encode()), Verifier(found.origin, PublicKey.from_hex(log["key"]))
        own = next(each for each in note.signatures if (each.name, each.key_id) == (host.name, host.key_id))
        name = self.name(self.memory())
        cosigned = Note(note.text, (own,)).cosigned_by(name, self.key(), now=now)
        return KeptCheckpoint(found.size, found.root.hex(), cosigned.encode().decode(), now)

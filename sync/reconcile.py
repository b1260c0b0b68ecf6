"""The three-way decision for one record: two shadows, two looks, one policy in; a Decision out.

Record-local and pure. Invariants, at every branch:

- Each side is compared only with its own shadow; `changed` never compares left with right.
- Two sides that agree are never in conflict, whatever the history says.
- A one-sided change is never a conflict, whatever the policy says.
- A field that was not returned is not touched. An unknown record is not touched.
- Nothing is planned against a side to which the direction (of the sync or of the field) does not flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple, assert_never

from sync import attachments
from sync.mapping import FieldMapping, FieldPair, Seen, contract_problem, fits
from sync.plan import (
    Decision,
    FieldConflict,
    Gone,
    Intent,
    LinkMove,
    Look,
    OutOfScope,
    Resolution,
    Tie,
    Unknown,
    Unlinked,
)
from sync.policy import (
    ConflictPolicy,
    DeletePolicy,
    Drift,
    EditVersusDelete,
    Granularity,
    Policy,
    side_that_wins,
)
from sync.records import SIDES, Problem, Side, Stream, other
from sync.values import MISSING, Value, ValueProblem, display, short


class Way(NamedTuple):
    """A field on its way from one side to the other."""

    pair: FieldPair
    is_copied: bool  # as it is
    flows: bool
    fits: Callable[[Value], bool]  # tells at a glance that the other side can hold a value


@dataclass(frozen=True)
class Rules:
    """What decides: the mapping, the policy, both streams' contracts, and the measured clock skew."""

    mapping: FieldMapping
    policy: Policy
    left: Stream
    right: Stream
    left_ahead: timedelta = timedelta(0)  # how far each side's clock is ahead of ours
    right_ahead: timedelta = timedelta(0)

    def stream(self, side: Side) -> Stream:
        return self.left if side == "left" else self.right

    def flows_to(self, side: Side, pair: FieldPair) -> bool:
        """Whether this field may be written on this side."""
        return pair.name in self._flowing[side]

    @cached_property
    def _flowing(self) -> Mapping[Side, frozenset[str]]:
        return {
            side: frozenset(
                pair.name
                for pair in self.mapping.pairs
                if self.policy.direction.writes_to(side)
                and pair.direction.writes_to(side)
                and self._is_writable(side, pair)
            )
            for side in SIDES
        }

    def _is_writable(self, side: Side, pair: FieldPair) -> bool:
        spec = self.stream(side).field(pair.on(side))
        return self.stream(side).writable and (spec is None or spec.writable)

    @cached_property
    def ways(self) -> Mapping[Side, list[Way]]:
        """From each side, what becomes of every field on its way to the other one."""
        return {
            side: [
                Way(pair, pair.is_copied, pair.name in self._flowing[to], fits(pair, to, self.stream(to)))
                for pair in self.mapping.pairs
            ]
            for side in SIDES
            for to in (other(side),)
        }

    def modified(self, side: Side, look: Seen) -> datetime | None:
        ahead = self.left_ahead if side == "left" else self.right_ahead
        return None if look.modified is None else look.modified - ahead


def reconcile(tie: Tie, left: Look, right: Look, rules: Rules) -> Decision:
    """What to do about one link (or fresh pair, or single new record: the other side Gone).

    A tie without an id and with one side Gone is a record that was never linked.
    """
    looks: Mapping[Side, Look] = {"left": left, "right": right}
    for side in SIDES:
        if isinstance(look := looks[side], Unknown):
            # Unknown is not absent: nothing is decided for this record until it can be read.
            return Decision(waits=look.reason, problems=(look.problem,) if look.problem else ())
        if isinstance(look, Gone) and look.problem and not isinstance(looks[other(side)], Gone):
            return Decision(waits=look.problem.code, problems=(look.problem,))
    for side in SIDES:
        look = looks[side]
        if isinstance(look, Seen) and look.problems:
            return _set_aside(tie, side, look, rules)
    match left, right:
        case Seen(), Seen() if tie.state == "unlinked":
            return Decision(excluded=tie.reason or "unlinked")
        case Seen(), Seen():
            return _both(tie, left, right, rules)
        case (OutOfScope(), _) | (_, OutOfScope()):
            return _out_of_scope(tie, looks)
        case Gone(), Gone():
            # No delete call that would answer 404.
            return Decision(move=LinkMove("tombstone"), notes=("gone on both sides",))
        case Seen(), Gone():
            return _one_sided(tie, "left", left, right, rules)
        case Gone(), Seen():
            return _one_sided(tie, "right", right, left, rules)
        case _:
            raise AssertionError((left, right))


def _set_aside(tie: Tie, side: Side, look: Seen, rules: Rules) -> Decision:
    label = tie.key or rules.mapping.label(side, look.values, look.id)
    return Decision(
        problems=tuple(
            Problem("bad_value", message, side=side, key=label, field_name=name, operation="read")
            for name, message in look.problems.items()
        )
    )


def _out_of_scope(tie: Tie, looks: Mapping[Side, Look]) -> Decision:
    side: Side = "left" if isinstance(looks["left"], OutOfScope) else "right"
    if tie.id is None:
        return Decision(excluded=f"outside the filter on {side}")
    reason = f"outside the filter on {side}"
    move = None if (tie.state, tie.reason) == ("excluded", reason) else LinkMove("excluded", reason)
    return Decision(move=move, excluded=reason)


# -- both sides are there -------------------------------------------------------------------------


@dataclass
class _Draft:
    """What is being decided for one record: becomes at most one update on each side."""

    worn_out: Mapping[tuple[str, Side], Value]  # writes that were made too often in a row
    after: dict[Side, dict[str, Value]] = field(default_factory=lambda: {"left": {}, "right": {}})
    settle: dict[Side, dict[str, Value]] = field(default_factory=lambda: {"left": {}, "right": {}})
    rules: dict[Side, dict[str, str]] = field(default_factory=lambda: {"left": {}, "right": {}})
    agreed: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    conflicts: list[FieldConflict] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    quiet: set[str] = field(default_factory=set)  # fields that stand as they were agreed
    unlinked: list[Unlinked] = field(default_factory=list)
    resolved: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pair:
    """One field with its two values and shadows."""

    field: FieldPair
    left: Value
    right: Value
    left_shadow: Value
    right_shadow: Value

    def now(self, side: Side) -> Value:
        return self.left if side == "left" else self.right

    def shadow(self, side: Side) -> Value:
        return self.left_shadow if side == "left" else self.right_shadow

    @property
    def has_base(self) -> bool:
        return self.left_shadow is not MISSING and self.right_shadow is not MISSING

    def changed(self, side: Side) -> bool:
        return not self.field.same(side, self.now(side), self.shadow(side))

    def can_arrive(self, side: Side) -> bool:
        """Whether a link of this side, which had nothing to link to on the other one, has it now."""
        if self.field.holds_files:
            fitting = {**self.both, side: self.field.across(side, self.now(side))}
            return attachments.arrived_nowhere(side, fitting, self.shadows)
        relation = self.field.relation
        return relation is not None and relation.arrived_nowhere(side, self.both, self.shadows)

    @property
    def both(self) -> Mapping[Side, Value]:
        return {"left": self.left, "right": self.right}

    @property
    def shadows(self) -> Mapping[Side, Value]:
        return {"left": self.left_shadow, "right": self.right_shadow}


def _both(tie: Tie, left: Seen, right: Seen, rules: Rules) -> Decision:
    draft = _Draft(tie.worn_out)
    contested: list[_Pair] = []
    flowing: list[tuple[_Pair, Side]] = []  # one-sided edits: the side that changed
    label = tie.key or rules.mapping.label("left", left.values, left.id)
    # Where nobody asks for more, a field that stands as it was agreed on both sides is done with.
    is_ordinary = tie.state == "linked" and not tie.resolutions and not tie.volatile
    for pair, is_copied, _, _ in rules.ways["left"]:
        name = pair.name
        one, one_was = left.get(name), tie.left.get(name, MISSING)
        two, two_was = right.get(name), tie.right.get(name, MISSING)
        if is_ordinary and is_copied and _stands(one, one_was) and _stands(two, two_was):
            draft.quiet.add(name)
            continue
        item = _Pair(pair, one, two, one_was, two_was)
        if item.left is MISSING or item.right is MISSING:
            continue  # not returned: neither an edit nor a clear
        if pair.name in tie.volatile:
            draft.problems.append(_volatile(item, label))
            continue
        _note_unlinked(item, rules, draft)
        _note_too_large(item, rules, draft, label)
        if pair.agree(item.left, item.right):
            # Equality beats history: the shadows follow, nothing is written, a conflict closes.
            if not item.has_base or item.changed("left") or item.changed("right"):
                draft.agreed[pair.name] = (item.left, item.right)
            continue
        if pair.name in tie.resolutions and _resolve(item, tie, rules, draft, label):
            continue
        ways = [side for side in SIDES if rules.flows_to(side, pair)]
        if tie.state == "excluded" and (back := _back_again(item, rules)) and other(back) in ways:
            flowing.append((item, back))
        elif len(ways) == 2 and pair.relation and pair.merges and _by_field(rules):
            _merge_links(item, draft, label)
        elif len(ways) == 2 and pair.holds_files and pair.merge and _by_field(rules):
            _merge_files(item, rules, draft, label)
        elif len(ways) == 2:
            _two_way(item, contested, flowing, draft, rules)
        elif ways:
            _one_way(item, ways[0], rules, draft, label)
        # no way at all: the field is only looked at
    _settle_two_way(contested, flowing, left, right, rules, draft, label)
    return _finish(tie, left, right, draft, _left_alone(tie, left, right, rules, draft))


def _stands(value: Value, shadow: Value) -> bool:
    """Whether a side holds what its shadow says, to the letter."""
    return value is not MISSING and value == shadow


def _by_field(rules: Rules) -> bool:
    return rules.policy.granularity is Granularity.FIELD


def _note_unlinked(item: _Pair, rules: Rules, draft: _Draft) -> None:
    relation = item.field.relation
    if relation is None:
        return
    for side in SIDES:
        ids = relation.without_partner(side, item.now(side))
        if ids and rules.flows_to(other(side), item.field):
            draft.unlinked.append(Unlinked(side, item.field.name, ids))


def _merge_links(item: _Pair, draft: _Draft, label: str) -> None:
    """What either side has linked is linked on both, what either has unlinked is unlinked on both."""
    pair = item.field
    if pair.relation is None:
        raise AssertionError("the caller looked")
    merged = pair.relation.merged(item.both, item.shadows)
    values: dict[Side, Value] = {side: merged[side] or None for side in SIDES}
    _put(item, values, "links merged", draft, label)


def _note_too_large(item: _Pair, rules: Rules, draft: _Draft, label: str) -> None:
    for side in SIDES:
        if rules.flows_to(other(side), item.field):
            draft.problems += _too_large(item.field, side, item.now(side), label, "update")


def _too_large(pair: FieldPair, source: Side, files: Value, label: str, operation: str) -> list[Problem]:
    to = other(source)
    limit = pair.max_bytes(to) if pair.holds_files else None
    if not (found := attachments.too_large(files, limit)):
        return []
    return [
        Problem(
            "file_too_large",
            f"{pair.on(to)} on {to} takes files of up to {limit} bytes: {attachments.names(found)} is larger"
            " and was not sent. It is tried again when it changes.",
            side=to,
            key=label,
            field_name=pair.name,
            operation=operation,
        )
    ]


def _removes(pair: FieldPair, side: Side, rules: Rules) -> bool:
    """Whether a file that was removed on this side goes from the other one too."""
    if pair.removals is not None:
        return pair.removals
    return rules.policy.deletes.when_gone_on(side) is DeletePolicy.PROPAGATE


def _merge_files(item: _Pair, rules: Rules, draft: _Draft, label: str) -> None:
    """What either side has added is on both; what one has removed goes by the policy of removals."""
    pair = item.field
    merged = attachments.merged(
        item.both,
        item.shadows,
        {side: pair.max_bytes(side) for side in SIDES},
        {side: _removes(pair, side, rules) for side in SIDES},
    )
    _put(item, merged, "files merged", draft, label)


def _put(item: _Pair, values: Mapping[Side, Value], rule: str, draft: _Draft, label: str) -> None:
    """Plan these values where they do not stand yet. Where both sides are written, each one's shadow follows
    its own write alone: if one is refused, nothing is taken for agreed there."""
    name = item.field.name
    sides = [
        side
        for side in SIDES
        if not item.field.same(side, values[side], item.now(side))
        and not _is_worn_out(item, side, values[side], draft, label)
    ]
    for side in sides:
        draft.after[side][name] = values[side]
        draft.rules[side][name] = rule
        if len(sides) == 1:
            draft.settle[side][name] = item.now(other(side))


def _left_alone(tie: Tie, left: Seen, right: Seen, rules: Rules, draft: _Draft) -> tuple[str, ...]:
    """Fields of which a shadow will not tell what stands there: an edit that flows nowhere."""
    settled = {*draft.agreed, *draft.after["left"], *draft.after["right"], *draft.quiet}
    looks = {"left": left, "right": right}

    def is_known(pair: FieldPair, side: Side) -> bool:
        value = looks[side].get(pair.name)
        return value is MISSING or pair.same(side, value, tie.shadow(side).get(pair.name, MISSING))

    return tuple(
        pair.name
        for pair in rules.mapping.pairs
        if pair.name not in settled and not all(is_known(pair, side) for side in SIDES)
    )


def _back_again(item: _Pair, rules: Rules) -> Side | None:
    """Where our archive mark stands alone: its record was deleted on the other side, and is there again."""
    archive = rules.policy.deletes.archive
    if archive is None or archive.field != item.field.name or not item.has_base:
        return None
    if item.changed("left") or item.changed("right"):
        return None
    for side in SIDES:
        if item.field.same(side, item.now(side), _archived(item.field, side, archive.value)):
            return other(side)
    return None


def _archived(pair: FieldPair, side: Side, mark: Value) -> Value:
    """The archive mark as a side writes it."""
    value = pair.own("left", mark)
    return value if side == "left" else pair.across("left", value)


def _two_way(
    item: _Pair,
    contested: list[_Pair],
    flowing: list[tuple[_Pair, Side]],
    draft: _Draft,
    rules: Rules,
) -> None:
    """Sort one differing two-way field: an edit of one side, or of both."""
    if not item.has_base:
        # First contact: no base means that both count as changed; a value beats an empty one.
        if rules.policy.fill_first and _is_empty(item.left) != _is_empty(item.right):
            flowing.append((item, "right" if _is_empty(item.left) else "left"))
            draft.notes.append(f"{item.field.name}: the empty side is filled")
        else:
            contested.append(item)
        return
    match item.changed("left"), item.changed("right"):
        case True, True:
            contested.append(item)
        case True, False:
            flowing.append((item, "left"))
        case False, True:
            flowing.append((item, "right"))
        case _ if item.can_arrive("left"):
            flowing.append((item, "left"))
        case _ if item.can_arrive("right"):
            flowing.append((item, "right"))
        case _:
            pass  # each side still holds what it held when they agreed: a rendering, not an edit


def _settle_two_way(
    contested: list[_Pair],
    flowing: list[tuple[_Pair, Side]],
    left: Seen,
    right: Seen,
    rules: Rules,
    draft: _Draft,
    label: str,
) -> None:
    policy = rules.policy
    if policy.granularity is Granularity.RECORD:
        sides = {side for _, side in flowing}
        if contested or len(sides) == 2:
            # Edits on both sides of one record, disjoint or not, are one conflict of the whole record.
            contested = contested + [item for item, _ in flowing]
            flowing = []
    for item, side in flowing:
        rule = f"{side} changed" if item.changed(side) else f"back on {side}"
        _send(item, side, rule if item.has_base else "filled", rules, draft, label)
    settled = 0
    for item in contested:
        if item.has_base and policy.granularity is Granularity.FIELD and item.field.merges:
            _merge(item, rules, draft, label)
            continue
        wanted = item.field.conflict or policy.conflict
        winner, rule = _winner(wanted, left, right, rules)
        if winner is None:
            draft.conflicts.append(_conflict(item, left, right, rules))
        else:
            _send(item, winner, rule, rules, draft, label)
            settled += 1
    draft.resolved += settled


def _winner(wanted: ConflictPolicy, left: Seen, right: Seen, rules: Rules) -> tuple[Side | None, str]:
    """The side whose value stands, and the rule's name; None where a person must decide."""
    if wanted is ConflictPolicy.NEWEST_WINS:
        at_left, at_right = rules.modified("left", left), rules.modified("right", right)
        if at_left is not None and at_right is not None and abs(at_left - at_right) > rules.policy.tolerance:
            return ("left" if at_left > at_right else "right"), "newest_wins"
        return side_that_wins(rules.policy.tie), f"newest_wins, tie: {rules.policy.tie}"
    return side_that_wins(wanted), str(wanted)


def _one_way(item: _Pair, to: Side, rules: Rules, draft: _Draft, label: str) -> None:
    """A differing field that flows only to side `to`."""
    source = other(to)
    if not item.has_base:
        if rules.policy.fill_first and _is_empty(item.now(source)) and not _is_empty(item.now(to)):
            # A value is not cleared because the source has never held one.
            draft.agreed[item.field.name] = (item.left, item.right)
        else:
            _send(item, source, "first contact", rules, draft, label)
        return
    from_source, at_destination = item.changed(source) or item.can_arrive(source), item.changed(to)
    if not from_source and not at_destination:
        return
    if from_source and not at_destination:
        _send(item, source, f"{source} changed", rules, draft, label)
        return
    match rules.policy.drift:
        case Drift.OVERWRITE:
            _send(item, source, "drift: overwrite", rules, draft, label)
        case Drift.IGNORE if from_source:
            _send(item, source, f"{source} changed", rules, draft, label)
        case Drift.IGNORE:
            draft.notes.append(f"{item.field.name}: the {to} side's own edit is left alone")
        case Drift.FLAG:
            draft.problems.append(
                Problem(
                    "drift",
                    f"{item.field.on(to)} was edited on {to}, to which this sync only writes:"
                    f" {short(display(item.now(to)))} there, {short(display(item.now(source)))} on {source}.",
                    side=to,
                    key=label,
                    field_name=item.field.name,
                    operation="update",
                )
            )
        case _ as never:
            assert_never(never)


def _send(item: _Pair, source: Side, rule: str, rules: Rules, draft: _Draft, label: str) -> None:
    """Plan that the other side takes this side's value; a value that does not fit is set aside."""
    to = other(source)
    pair = item.field
    crossed = _cross(pair, source, item.now(source), rules, draft.problems, label, "update")
    if pair.relation is not None and crossed is not MISSING:
        crossed = _links_sent(item, source, crossed)
    elif pair.holds_files and crossed is not MISSING:
        crossed = _files_sent(item, source, crossed, rules)
    if crossed is not MISSING and not _is_worn_out(item, to, crossed, draft, label):
        draft.after[to][pair.name] = crossed
        draft.settle[to][pair.name] = item.now(source)
        draft.rules[to][pair.name] = rule


def _is_worn_out(item: _Pair, side: Side, value: Value, draft: _Draft, label: str) -> bool:
    """Whether this very write was made too often in a row; then it is explained instead."""
    worn = draft.worn_out.get((item.field.name, side), MISSING)
    if worn is MISSING or not item.field.same(side, value, worn):
        return False
    draft.problems.append(_ping_pong(item, label))
    return True


def _links_sent(item: _Pair, source: Side, crossed: Value) -> Value:
    """What the other side is to link to; MISSING where it is to be left as it is."""
    to, relation = other(source), item.field.relation
    if relation is None:
        raise AssertionError("the caller looked")
    if item.field.single:
        if relation.without_partner(source, item.now(source)):
            return MISSING  # nothing to link to yet: the old link is not taken away for it
    else:
        # What stands there beside has no partner on this side, so nobody here can have removed it.
        kept = relation.without_partner(to, item.now(to))
        crossed = tuple(sorted({*(crossed or ()), *kept})) or None
    return MISSING if item.field.same(to, crossed, item.now(to)) else crossed


def _files_sent(item: _Pair, source: Side, crossed: Value, rules: Rules) -> Value:
    """The files that the other side is to have; MISSING where it is to be left as it is."""
    to, pair = other(source), item.field
    # What is too large for the source can never have stood there, so nobody there has removed it.
    kept = attachments.too_large(item.now(to), pair.max_bytes(source))
    if not _removes(pair, source, rules):
        kept += [
            file
            for file in attachments.missing(item.now(to), kept)
            if attachments.among(file, item.shadow(to))
        ]
    # What is there already stays as it stands there: only the rest is carried.
    there = [file for file in item.now(to) or () if attachments.among(file, crossed)]
    wanted = (*there, *attachments.missing(crossed, there), *attachments.missing(kept, crossed))
    return MISSING if pair.same(to, wanted, item.now(to)) else wanted


def _cross(
    pair: FieldPair,
    source: Side,
    value: Value,
    rules: Rules,
    problems: list[Problem],
    label: str,
    operation: str,
) -> Value:
    """The value in the other side's own form; MISSING, with a problem noted, where it does not fit."""
    to = other(source)
    try:
        crossed = pair.across(source, value)
    except ValueProblem as problem:
        why = f"{pair.on(source)}: {problem}."
    else:
        found = contract_problem(pair, to, crossed, rules.stream(to))
        if found is None:
            return crossed
        why = f"{found} The value on {source} is {short(display(value))}; it was not sent."
    problems.append(
        Problem("does_not_fit", why, side=to, key=label, field_name=pair.name, operation=operation)
    )
    return MISSING


def _merge(item: _Pair, rules: Rules, draft: _Draft, label: str) -> None:
    """Both sides edited an unordered list: what either added is in, what either removed is out."""
    pair = item.field
    try:
        left, base_left = set(item.left or ()), set(item.left_shadow or ())
        # The right side's edit in the left side's form.
        right = set(pair.across("right", item.right) or ())
        base_right = set(pair.across("right", item.right_shadow) or ())
    except ValueProblem as problem:
        draft.problems.append(Problem("does_not_fit", str(problem), key=label, field_name=pair.name))
        return
    kept = (left | right) - (base_left - left) - (base_right - right)
    merged = tuple(sorted(kept, key=str))
    _put(item, {"left": merged, "right": pair.across("left", merged)}, "merged", draft, label)


def _resolve(item: _Pair, tie: Tie, rules: Rules, draft: _Draft, label: str) -> bool:
    """Carry out a person's answer; False where what they saw is no longer what is there."""
    answer = tie.resolutions[item.field.name]
    pair = item.field
    # A side that holds the typed value already took it when the other one could not.
    seen = {"left": answer.seen_left, "right": answer.seen_right}
    shown = all(
        pair.same(side, item.now(side), seen[side])
        or (answer.take == "value" and pair.same(side, item.now(side), _typed(pair, side, answer)))
        for side in SIDES
    )
    if not shown:
        draft.stale.append(pair.name)
        return False
    if answer.take != "value":
        source: Side = answer.take
        if not rules.flows_to(other(source), pair):
            draft.stale.append(pair.name)
            return False
        draft.worn_out = {}  # a person said so
        _send(item, source, f"resolved: {source}", rules, draft, label)
        draft.worn_out = tie.worn_out
        return True
    crossed = _cross(pair, "left", answer.value, rules, draft.problems, label, "update")
    if crossed is MISSING:
        return True
    draft.worn_out = {}  # a person said so
    _put(item, {"left": answer.value, "right": crossed}, "resolved: value", draft, label)
    draft.worn_out = tie.worn_out
    return True


def _typed(pair: FieldPair, side: Side, answer: Resolution) -> Value:
    """A typed answer as a side holds it; MISSING where it cannot."""
    try:
        return answer.value if side == "left" else pair.across("left", answer.value)
    except ValueProblem:
        return MISSING


def _finish(tie: Tie, left: Seen, right: Seen, draft: _Draft, left_alone: tuple[str, ...]) -> Decision:
    looks = {"left": left, "right": right}
    intents = tuple(
        Intent(
            side=side,
            operation="update",
            rule=_one_rule(draft.rules[side]),
            after=draft.after[side],
            before={name: looks[side].get(name) for name in draft.after[side]},
            settle=draft.settle[side],
            rules=draft.rules[side],
        )
        for side in SIDES
        if draft.after[side]
    )
    # A record that was excluded and is there again on both sides resumes with its old shadows.
    resumes = tie.id is not None and tie.state != "linked"
    return Decision(
        intents=intents,
        agreed=draft.agreed,
        conflicts=tuple(draft.conflicts),
        problems=tuple(draft.problems),
        stale_resolutions=tuple(draft.stale),
        left_alone=left_alone,
        unlinked=tuple(draft.unlinked),
        resolved=draft.resolved,
        move=LinkMove("linked") if resumes else None,
        notes=tuple(draft.notes),
    )


def _one_rule(rules: Mapping[str, str]) -> str:
    found = sorted(set(rules.values()))
    return found[0] if len(found) == 1 else "several: " + ", ".join(found)


def _conflict(item: _Pair, left: Seen, right: Seen, rules: Rules) -> FieldConflict:
    return FieldConflict(
        item.field.name,
        item.left,
        item.right,
        item.left_shadow,
        item.right_shadow,
        rules.modified("left", left),
        rules.modified("right", right),
    )


def _ping_pong(item: _Pair, label: str) -> Problem:
    return Problem(
        "ping_pong",
        f"{item.field.name} was written the same way three runs in a row and came back changed each time:"
        f" {short(display(item.left))} on left, {short(display(item.right))} on right."
        " An automation on one side keeps changing it. The field is frozen until one side settles.",
        key=label,
        field_name=item.field.name,
        operation="update",
    )


def _volatile(item: _Pair, label: str) -> Problem:
    name = item.field.name
    return Problem(
        "volatile",
        f"{name} changes by itself, from one look to the next: it is a counter or is computed. It is left"
        " alone; take it out of the mapping.",
        key=label,
        field_name=name,
        operation="update",
    )


def _is_empty(value: Value) -> bool:
    return value is None or value in ("", (), [], {})


# -- only one side is there -----------------------------------------------------------------------


def _one_sided(tie: Tie, here: Side, look: Seen, gone: Gone, rules: Rules) -> Decision:
    """Side `here` holds the record, the other does not."""
    there = other(here)
    policy = rules.policy
    if tie.id is None:
        if policy.direction.writes_to(there):
            return _create(tie, here, look, rules, "new")
        if policy.exclusive:
            return _delete(tie, here, look, "exclusive")
        return Decision(notes=(f"foreign on {here}",))
    if tie.state != "linked":
        # Set aside earlier: a person or a policy said so; it resumes when the record returns.
        return Decision(excluded=tie.reason or f"deleted on {there}")
    if not policy.direction.writes_to(here):
        return _gone_at_destination(tie, here, look, rules)
    wanted = policy.deletes.when_gone_on(there)
    if wanted is DeletePolicy.NEVER:
        reason = f"deleted on {there}"
        return Decision(move=LinkMove("excluded", reason), excluded=reason)
    if _was_edited(tie, here, look, rules):
        return _edit_versus_delete(tie, here, look, gone, rules, wanted)
    return _carry_out_delete(tie, here, look, rules, wanted, f"deleted on {there}")


def _was_edited(tie: Tie, here: Side, look: Seen, rules: Rules) -> bool:
    """Whether side `here` holds an edit that counts: in a field that flows away from it."""
    for pair in rules.mapping.pairs:
        value, shadow = look.get(pair.name), tie.shadow(here).get(pair.name, MISSING)
        if value is MISSING or shadow is MISSING or not rules.flows_to(other(here), pair):
            continue
        if not pair.same(here, value, shadow):
            return True
    return False


def _edit_versus_delete(
    tie: Tie, here: Side, look: Seen, gone: Gone, rules: Rules, wanted: DeletePolicy
) -> Decision:
    there = other(here)
    answer = tie.resolutions.get("")
    stale: tuple[str, ...] = ()
    if answer is not None and _is_as_shown(answer, here, look, rules):
        if answer.take == here:
            return _create(tie, here, look, rules, "resolved: revived")
        return _carry_out_delete(tie, here, look, rules, wanted, "resolved: deleted")
    if answer is not None:
        stale = ("",)
    policy = rules.policy
    match policy.edit_vs_delete:
        case EditVersusDelete.EDIT_WINS:
            return _create(tie, here, look, rules, "revived: edit wins")
        case EditVersusDelete.DELETE_WINS:
            return _carry_out_delete(tie, here, look, rules, wanted, "delete wins")
        case EditVersusDelete.FOLLOW:
            match policy.conflict:
                case ConflictPolicy.NEWEST_WINS:
                    edited = rules.modified(here, look)
                    if gone.at is not None and edited is not None and gone.at > edited:
                        return _carry_out_delete(tie, here, look, rules, wanted, "newest wins: deleted")
                    return _create(tie, here, look, rules, "revived: newest wins")
                case ConflictPolicy.MANUAL:
                    pass
                case side_policy:
                    if side_that_wins(side_policy) == here:
                        return _create(tie, here, look, rules, f"revived: {side_policy}")
                    return _carry_out_delete(tie, here, look, rules, wanted, str(side_policy))
        case EditVersusDelete.MANUAL:
            pass
    sees: dict[Side, Value] = {here: dict(look.values), there: MISSING}
    conflict = FieldConflict(
        field="",
        left=sees["left"],
        right=sees["right"],
        left_shadow=dict(tie.left),
        right_shadow=dict(tie.right),
        left_modified=rules.modified(here, look) if here == "left" else gone.at,
        right_modified=rules.modified(here, look) if here == "right" else gone.at,
        note=f"edited on {here}, deleted on {there}",
    )
    return Decision(conflicts=(conflict,), stale_resolutions=stale)


def _is_as_shown(answer: Resolution, here: Side, look: Seen, rules: Rules) -> bool:
    """Whether the record that is left is still the one that the person saw, and the other one still gone."""
    shown, away = answer.seen_left, answer.seen_right
    if here == "right":
        shown, away = away, shown
    return (
        isinstance(shown, Mapping)
        and away is MISSING
        and all(
            pair.same(here, look.get(pair.name), shown.get(pair.name, MISSING))
            for pair in rules.mapping.pairs
        )
    )


def _gone_at_destination(tie: Tie, here: Side, look: Seen, rules: Rules) -> Decision:
    """One-way: the destination's copy was deleted there. A drift like any other edit of its own."""
    there = other(here)
    edited = _was_edited(tie, here, look, rules)
    match rules.policy.drift:
        case Drift.OVERWRITE:
            return _create(tie, here, look, rules, "drift: overwrite")
        case Drift.IGNORE if edited:
            return _create(tie, here, look, rules, f"{here} changed")
        case Drift.IGNORE:
            return Decision(excluded=f"deleted on {there}")
        case Drift.FLAG:
            return Decision(
                problems=(
                    Problem(
                        "drift",
                        f"The record was deleted on {there}, to which this sync only writes.",
                        side=there,
                        key=tie.key,
                        operation="create",
                    ),
                )
            )
        case _ as never:
            assert_never(never)


def _create(tie: Tie, here: Side, look: Seen, rules: Rules, rule: str) -> Decision:
    """Make the record on the other side from this side's values."""
    to = other(here)
    label = tie.key or rules.mapping.label(here, look.values, look.id)
    problems: list[Problem] = []
    after: dict[str, Value] = {}
    settle: dict[str, Value] = {}
    unlinked: list[Unlinked] = []
    large: list[Problem] = []  # files that stay behind: the record is made all the same
    for pair, is_copied, flows, fits_there in rules.ways[here]:
        value = look.get(pair.name)
        if value is MISSING:
            continue
        if is_copied and flows and fits_there(value):
            after[pair.name] = settle[pair.name] = value
            continue
        lonely = pair.relation.without_partner(here, value) if pair.relation is not None else ()
        if lonely and rules.flows_to(to, pair):
            unlinked.append(Unlinked(here, pair.name, lonely))
            if pair.single:
                settle[pair.name] = value  # it flows when there is something to link to
                continue
        if not rules.flows_to(to, pair):
            # The new record has it as its system fills it; from there on only edits count.
            settle[pair.name] = value
            continue
        large += _too_large(pair, here, value, label, "create")
        crossed = _cross(pair, here, value, rules, problems, label, "create")
        if crossed is not MISSING:
            after[pair.name] = crossed
            settle[pair.name] = value
    if len(after) == len(settle) and all(after.get(name) is value for name, value in settle.items()):
        settle = after  # a first load holds them for every record
    if problems:
        return Decision(problems=tuple(problems))  # no half record
    intent = Intent(side=to, operation="create", rule=rule, after=after, settle=settle)
    notes = ("revived",) if tie.id is not None else ()
    return Decision(intents=(intent,), problems=tuple(large), notes=notes, unlinked=tuple(unlinked))


def _delete(tie: Tie, side: Side, look: Seen, rule: str, *, needs_approval: bool = False) -> Decision:
    intent = Intent(
        side=side,
        operation="delete",
        rule=rule,
        before=dict(look.values),
        needs_approval=needs_approval,
    )
    return Decision(intents=(intent,))


def _carry_out_delete(
    tie: Tie, here: Side, look: Seen, rules: Rules, wanted: DeletePolicy, rule: str
) -> Decision:
    """What the delete policy says for the copy that still stands on side `here`."""
    there = other(here)
    match wanted:
        case DeletePolicy.PROPAGATE:
            return _delete(tie, here, look, rule)
        case DeletePolicy.APPROVE:
            return _delete(tie, here, look, rule, needs_approval=True)
        case DeletePolicy.UNLINK:
            return Decision(move=LinkMove("unlinked", f"deleted on {there}"))
        case DeletePolicy.NEVER:
            reason = f"deleted on {there}"
            return Decision(move=LinkMove("excluded", reason), excluded=reason)
        case DeletePolicy.ARCHIVE:
            return _archive(tie, here, look, rules, rule)
        case _ as never:
            assert_never(never)


def _archive(tie: Tie, here: Side, look: Seen, rules: Rules, rule: str) -> Decision:
    archive = rules.policy.deletes.archive
    if archive is None:
        raise AssertionError("a definition with deletes: archive names its field")
    there = other(here)
    reason = f"deleted on {there}"
    pair = rules.mapping.pair(archive.field)
    value = _archived(pair, here, archive.value)
    if pair.same(here, look.get(pair.name), value):
        return Decision(move=LinkMove("excluded", reason), excluded=reason)
    intent = Intent(
        side=here,
        operation="update",
        rule=f"archived: {rule}",
        after={pair.name: value},
        before={pair.name: look.get(pair.name)},
        archives=True,
    )
    return Decision(intents=(intent,), move=LinkMove("excluded", reason))

"""One admission: its call of `admit.lua`, and what the reply means."""

import hashlib
import time
from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import Any

import msgspec
from django.conf import settings
from msgspec.structs import astuple

from billing.events import UsageEvent
from billing.meter.connection.script import Argument, ScriptCall, bulk
from billing.meter.errors import (
    BudgetExceeded,
    ConcurrencyLimited,
    DailyTokensExceeded,
    DowngradeDeclined,
    RateLimited,
    UserRateLimited,
)
from billing.meter.journal import WORKER, UnconfirmedAdmission
from billing.meter.lease import Lease, PricedCandidate, RequestMetadata, Run, flags, head, stored
from billing.meter.prepared_policy import PreparedPolicy, limit_of, pack_keys
from billing.meter.scripts import (
    ADMIT,
    BUDGET_KEYS,
    SCOPES,
    AdmitCall,
    AdmitCandidate,
    AdmitKey,
    AdmitKeys,
    AdmitPolicy,
    AdmitReply,
    VoidArguments,
    VoidKeys,
)
from gateway_project.ground.money import NanoUSD, to_usd
from gateway_project.ground.redis_keys import PREPAID_COUNTER, shard_of
from routing.choice import Change, Route
from tenants.policy import BudgetMode, Principal

_FIXED = 1 + len(AdmitKeys._fields) + len(AdmitPolicy._fields)


class Admission(msgspec.Struct, frozen=True):
    """A lease, and the numbers for the response's headers. A limit is `None` where none is set.

    `requests_*` belong to the window (of tenant, key or end user) with the least room, `tokens_*` to the day. Both
    count this call, with the tokens held for it. `open_calls` were open before it. `over_shadow`: the limit in
    shadow would have refused it. `saving`: cheaper models are preferred now.
    """

    lease: Lease
    route: Route
    requests_limit: int | None
    requests_used: int
    tokens_limit: int | None
    tokens_used: int
    day_ends: datetime
    admitted_ms: int
    budget_remaining_nano: NanoUSD | None
    spent_nano: NanoUSD = NanoUSD(0)
    held_nano: NanoUSD = NanoUSD(0)
    open_calls: int = 0
    over_shadow: bool = False
    saving: bool = False


class AdmissionRequest:
    """One call to be admitted, with everything that `admit.lua` needs. With `dry_run` the script writes nothing."""

    def __init__(
        self,
        principal: Principal,
        offers: Sequence[PricedCandidate],
        request_id: str,
        metadata: RequestMetadata,
        run: Run | None,
        prepared: PreparedPolicy,
        *,
        dry_run: bool = False,
    ) -> None:
        policy = principal.policy
        self.principal, self.policy, self.offers, self.request_id = principal, policy, offers, request_id
        self.metadata, self.run, self.prepared, self.dry_run = metadata, run, prepared, dry_run
        self._user = short(metadata.end_user) if metadata.end_user else ""
        self._run = short(run.id) if run else ""
        self._conversation = (
            _conversation(metadata, offers) if len(offers) > 1 and prepared.lines.start >= 0 else ""
        )
        self._is_plain = not (self._user or self._run or self._conversation)
        self.counters = (
            prepared.plain_counters if self._is_plain else prepared.counters(self._user, self._run)
        )
        self.budgets = (
            *prepared.budgets,
            policy.user_monthly_budget_nano if self._user else None,
            run.budget_nano if run else None,
        )
        self.held_tokens = offers[0].held_tokens if offers else 0
        self.events = [self._event(offer) for offer in offers]
        self.stored = stored(WORKER, self.events, prepared.alert_lines)

    @property
    def keys(self) -> AdmitKeys:
        return self.prepared.keys(self._user, self._run, self._conversation)

    def call(self) -> ScriptCall:
        """The call of `admit.lua`."""
        prepared, plain = self.prepared, self._is_plain
        of_call = AdmitCall(
            request_id=self.request_id,
            run_limit=limit_of(self.budgets[3]),
            keep_seconds=settings.CONVERSATION_SECONDS if self._conversation else 0,
            dry_run=int(self.dry_run),
            held_tokens=self.held_tokens,
            lease_head=prepared.plain_head if plain else head(self.counters, prepared.day_counter),
            lease_rest=self.stored,
        )
        arguments: list[Argument] = [*astuple(of_call)]
        for offer in self.offers:
            of_candidate = AdmitCandidate(
                skipped=int(offer.candidate.skip_from_percent is not None),
                input_hold=offer.input_hold_nano,
                output_price=offer.output_nano_per_token,
                max_tokens=offer.max_tokens,
                min_tokens=offer.min_output_tokens,
                first_tokens=offer.held_tokens,
            )
            arguments += astuple(of_candidate)
        keys = prepared.packed_keys if plain else pack_keys(self.keys)
        body = b"%b%b%b" % (keys, prepared.packed_arguments, bulk(*arguments))
        return ScriptCall(ADMIT, prepared.key_prefix, body, _FIXED + len(arguments))

    def unconfirmed_admission(self) -> UnconfirmedAdmission:
        """What `void.lua` needs to undo this admission."""
        admitted = self.keys
        keys = VoidKeys(**{name: getattr(admitted, name) for name in VoidKeys._fields})
        windows = (keys.tenant_window, keys.user_window, keys.key_window)
        arguments = VoidArguments(
            request_id=self.request_id,
            tenant_id=self.policy.tenant_id,
            kept=flags(self.counters),
            kept_windows=flags("" if window == admitted.tenant else window for window in windows),
        )
        return UnconfirmedAdmission(shard_of(self.policy.tenant_id), keys, arguments)

    def _event(self, offer: PricedCandidate) -> UsageEvent:
        metadata = self.metadata
        return UsageEvent(
            request_id=self.request_id,
            tenant_id=self.policy.tenant_id,
            key_id=self.principal.key.id,
            day=self.prepared.day.name,
            period_start=self.prepared.period.name,
            wire=metadata.wire,
            model=offer.candidate.model.name,
            model_preferred="" if offer is self.offers[0] else self.offers[0].candidate.model.name,
            route=offer.candidate.route.text,
            price_id=offer.price_id,
            end_user=metadata.end_user,
            session=metadata.session,
            run_id=self.run.id if self.run else "",
            model_requested=metadata.model_requested,
            stream=metadata.stream,
            tags=metadata.tags,
            budget_nano=self.policy.monthly_budget_nano,
            text_bytes=metadata.text_bytes,
            message_count=metadata.message_count,
            tool_count=metadata.tool_count,
            keyword=metadata.keyword,
        )

    def admission(self, reply: list[Any]) -> Admission:
        """The admission behind an `OK` reply."""
        admitted = AdmitReply(*reply[1:])
        prepared, offer = self.prepared, self.offers[admitted.candidate - 1]
        event = self.events[admitted.candidate - 1]
        route = offer.candidate.route
        if admitted.clamped:
            route = route.then(Change.CLAMPED)
            event.route = route.text
        budget = self.policy.monthly_budget_nano
        lease = Lease(
            request_id=self.request_id,
            tenant_id=self.policy.tenant_id,
            hold_nano=admitted.hold,
            held_tokens=self.held_tokens,
            counters=self.counters,
            day_counter=prepared.day_counter,
            offer=offer,
            max_tokens=admitted.max_tokens,
            clamped=bool(admitted.clamped),
            event=event,
            alert_lines=prepared.alert_lines,
            worker=WORKER,
            budgets=self.budgets,
            resets_at=None if self.counters[0] == PREPAID_COUNTER else prepared.period.ends_at,
            output_tokens=admitted.held_tokens,
            index=admitted.candidate,
            admitted_us=admitted.now_us,
            metadata=self.stored,
            settle_keys=prepared.plain_settle_keys if self._is_plain else b"",
        )
        others_held = admitted.held - admitted.hold
        remaining = None if budget is None else NanoUSD(budget - admitted.spent - others_held)
        return Admission(
            lease=lease,
            route=route,
            requests_limit=None if admitted.rpm_limit < 0 else admitted.rpm_limit,
            requests_used=admitted.rpm_used,
            tokens_limit=self.policy.tokens_per_day,
            tokens_used=admitted.day_tokens,
            day_ends=prepared.day.ends_at,
            admitted_ms=admitted.now_us // 1000,
            budget_remaining_nano=remaining,
            spent_nano=admitted.spent,
            held_nano=admitted.held,
            open_calls=admitted.open,
            over_shadow=bool(admitted.over_shadow),
            saving=bool(admitted.saving),
        )

    def refusal(self, reply: list[bytes | int]) -> Exception:
        """The error of the contract's table behind a `REFUSED` reply."""
        policy = self.policy
        match reply[1]:
            case b"rate":
                limit = policy.requests_per_minute
                return RateLimited(
                    f"The limit of {limit} requests per minute has been reached.",
                    retry_ms=int(reply[2]),
                    limit=limit,
                )
            case b"key_rate":
                limit = self.principal.key.requests_per_minute
                return RateLimited(
                    f"This key's limit of {limit} requests per minute has been reached.",
                    retry_ms=int(reply[2]),
                    limit=limit,
                )
            case b"user_rate":
                limit = policy.user_requests_per_minute
                return UserRateLimited(
                    f"The limit of {limit} requests per minute per end user has been reached.",
                    retry_ms=int(reply[2]),
                    limit=limit,
                )
            case b"concurrency":
                return ConcurrencyLimited(
                    f"The limit of {policy.concurrency} concurrent requests has been reached.", retry_ms=1000
                )
            case b"tokens":
                seconds = max(1, ceil(self.prepared.day.end - time.time()))
                return DailyTokensExceeded(limit=policy.tokens_per_day or 0, seconds=seconds)
        scope = SCOPES[BUDGET_KEYS.index(AdmitKey(int(reply[2])))]
        budget = self.budgets[SCOPES.index(scope)]
        forever = scope == "run" or (scope == "tenant" and policy.budget_mode is BudgetMode.PREPAID)
        refusal = DowngradeDeclined if reply[1] == b"declined" else BudgetExceeded
        return refusal(
            scope=scope,
            spend_usd=to_usd(int(reply[3])),
            budget_usd=to_usd(budget or 0),
            resets_at=None if forever else self.prepared.period.ends_at,
        )


def short(text: str) -> str:
    """A name of any length, digested to 20 characters for use in a key."""
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def _conversation(metadata: RequestMetadata, offers: Sequence[PricedCandidate]) -> str:
    """The conversation's name: a digest of its session, else of how it began, and of the candidates; "" if unknown."""
    if not (metadata.session or metadata.opening):
        return ""
    begun = metadata.session or f"{metadata.end_user}\n{metadata.opening}"
    return short("\n".join((*(offer.candidate.model.name for offer in offers), begun)))

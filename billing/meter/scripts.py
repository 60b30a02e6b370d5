"""The Lua scripts and what each of them takes: keys and arguments by name, in the script's order.

The order is written here and at the head of the script (`lua/`), and nowhere else: callers pass everything by name. A
test compares the two.

What is built for each call is a struct: from keywords, msgspec builds one in a third of a named tuple's time.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from billing.meter.connection.script import Script
from gateway_project.ground.money import NanoUSD


class AdmitKeys(NamedTuple):
    shard: str
    tenant: str
    leases: str
    tenant_window: str
    user_window: str
    key_window: str
    tenant_budget: str
    key_budget: str
    user_budget: str
    run_budget: str
    day: str
    busy: str
    conversation: str
    shadow_window: str


class AdmitKey(IntEnum):
    """The keys that replies of `admit.lua` name by their number."""

    SHARD = AdmitKeys._fields.index("shard") + 1
    TENANT_BUDGET = AdmitKeys._fields.index("tenant_budget") + 1
    KEY_BUDGET = AdmitKeys._fields.index("key_budget") + 1
    USER_BUDGET = AdmitKeys._fields.index("user_budget") + 1
    RUN_BUDGET = AdmitKeys._fields.index("run_budget") + 1
    DAY = AdmitKeys._fields.index("day") + 1


# The budgets' scopes, as refusals name them.
SCOPES = ("tenant", "key", "user", "run")
BUDGET_KEYS = (AdmitKey.TENANT_BUDGET, AdmitKey.KEY_BUDGET, AdmitKey.USER_BUDGET, AdmitKey.RUN_BUDGET)


class AdmitPolicy(NamedTuple):
    """The arguments that every call under one policy shares in one period and day. -1: no limit."""

    tenant_id: int
    everyones_token: str
    tenants_token: str
    period_start: int
    period_end: int
    day_start: int
    day_end: int
    tenant_rate: int
    user_rate: int
    key_rate: int
    concurrency: int
    daily_tokens: int
    tenant_limit: int
    key_limit: int
    user_limit: int
    saving_from: int
    saving_until: int
    shadow_rate: int


class AdmitCall(msgspec.Struct, gc=False):
    """The arguments of one call."""

    request_id: str
    run_limit: int
    keep_seconds: int
    dry_run: int
    held_tokens: int
    lease_head: str
    lease_rest: bytes


class AdmitCandidate(msgspec.Struct, gc=False):
    """The arguments of one candidate."""

    skipped: int
    input_hold: int
    output_price: int
    max_tokens: int
    min_tokens: int
    first_tokens: int


class AdmitReply(msgspec.Struct, gc=False):
    """What follows an OK."""

    candidate: int
    max_tokens: int
    held_tokens: int
    hold: NanoUSD
    clamped: int
    spent: NanoUSD
    held: NanoUSD
    rpm_limit: int
    rpm_used: int
    day_tokens: int
    now_us: int
    open: int
    over_shadow: int
    saving: int


class ExtendKeys(NamedTuple):
    leases: str
    tenant_budget: str
    key_budget: str
    user_budget: str
    run_budget: str


class ExtendArguments(NamedTuple):
    request_id: str
    tokens: int
    price: int
    kept: str
    tenant_limit: int
    key_limit: int
    user_limit: int
    run_limit: int
    of_output: int


class SettleKeys(NamedTuple):
    leases: str
    tenant_budget: str
    key_budget: str
    user_budget: str
    run_budget: str
    day: str
    busy: str
    usage: str
    tombstone: str


class SettleArguments(msgspec.Struct, gc=False):
    request_id: str
    tenant_id: int
    hold: int
    cost: int
    held_tokens: int
    used_tokens: int
    event: bytes
    kept: str
    alert_lines: str
    tombstone_seconds: int
    state: str
    repeats: int


class SettleReply(msgspec.Struct, gc=False):
    """What follows an OK."""

    spent: NanoUSD
    held: NanoUSD
    entry: bytes


class RestoreKeys(NamedTuple):
    leases: str
    tenant_budget: str
    key_budget: str
    user_budget: str
    run_budget: str
    day: str
    busy: str
    tombstone: str


class RestoreArguments(NamedTuple):
    request_id: str
    tenant_id: int
    hold: int
    held_tokens: int
    kept: str
    lease: bytes


class VoidKeys(NamedTuple):
    leases: str
    tenant_budget: str
    key_budget: str
    user_budget: str
    run_budget: str
    day: str
    busy: str
    tenant_window: str
    user_window: str
    key_window: str


class VoidArguments(NamedTuple):
    request_id: str
    tenant_id: int
    kept: str
    kept_windows: str


class BeginRebuildKeys(NamedTuple):
    counter: str


class BeginRebuildArguments(NamedTuple):
    field: str
    builder: str
    builder_ms: int


class SeedKeys(NamedTuple):
    leases: str
    counter: str


class SeedArguments(NamedTuple):
    builder: str
    field: str
    value: int
    name: str
    expires_at: int


class BeatKeys(NamedTuple):
    shard: str
    workers: str
    usage: str


class BeatArguments(NamedTuple):
    worker: str


class OpenEpochKeys(NamedTuple):
    shard: str


class OpenEpochArguments(NamedTuple):
    epoch: str
    quarantine_ms: int
    policy_token: str


class RememberKeys(NamedTuple):
    answer: str
    kept_index: str
    kept_bytes: str


class RememberArguments(NamedTuple):
    value: bytes
    keep_ms: int
    most_bytes: int
    name: str
    key_prefix: str


# `Any`: `admit.lua`'s arguments are packed in three parts, and `settle.lua`'s behind the tombstone's key.
ADMIT: Script[AdmitKeys, Any] = Script("admit")
EXTEND: Script[ExtendKeys, ExtendArguments] = Script("extend")
SETTLE: Script[SettleKeys, Any] = Script("settle")
RESTORE: Script[RestoreKeys, RestoreArguments] = Script("restore")
VOID: Script[VoidKeys, VoidArguments] = Script("void")
BEGIN_REBUILD: Script[BeginRebuildKeys, BeginRebuildArguments] = Script("begin_rebuild")
SEED: Script[SeedKeys, SeedArguments] = Script("seed")
BEAT: Script[BeatKeys, BeatArguments] = Script("beat")
OPEN_EPOCH: Script[OpenEpochKeys, OpenEpochArguments] = Script("open_epoch")
REMEMBER: Script[RememberKeys, RememberArguments] = Script("remember")

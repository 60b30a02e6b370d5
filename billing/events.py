"""What the meter writes into the usage stream and the ledger reads from it.

Stream `{sN}:usage`, one entry a call: `e` (this struct as msgpack), `crossed` (alert thresholds in percent,
comma-separated, in order), `spent` (nano-USD of the period after this call) and `late` (`1`: the reaper had settled
this call already; the ledger writes an adjustment instead of a row).
"""

import msgspec

from billing.usage import Usage
from gateway_project.ground.money import NanoUSD

# The note of a call that cost more than was reserved for it begins with this.
OVERRAN = "Passed its reservation"


class UsageEvent(msgspec.Struct, omit_defaults=True):
    """One upstream call: every column of its ledger row. Money in nano-USD, times in milliseconds."""

    request_id: str
    tenant_id: int
    key_id: int | None
    day: str
    period_start: str
    wire: str
    model: str
    cost_nano: NanoUSD = NanoUSD(0)
    upstream_cost_nano: NanoUSD = NanoUSD(0)
    usage: Usage = Usage()
    end_user: str = ""
    session: str = ""
    run_id: str = ""
    model_requested: str = ""
    route: str = ""
    stream: bool = False
    status: str = "ok"
    http_status: int | None = None
    price_id: int | None = None
    estimated: bool = False
    latency_ms: int | None = None
    ttft_ms: int | None = None
    upstream_request_id: str = ""
    tags: dict[str, str] = {}
    note: str = ""
    budget_nano: NanoUSD | None = None  # the tenant's, which `crossed` refers to; no column
    model_preferred: str = ""
    saved_nano: NanoUSD = NanoUSD(0)
    text_bytes: int | None = None
    message_count: int | None = None
    tool_count: int | None = None
    keyword: str = ""


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(UsageEvent).decode

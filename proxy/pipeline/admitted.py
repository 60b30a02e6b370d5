"""A call with a lease, and what becomes known of it on its way."""

import msgspec

from gateway_project.ground.money import NanoUSD
from proxy.pipeline.call import Call
from proxy.pipeline.hold import Hold
from proxy.pipeline.plan import Plan


class AdmittedCall(msgspec.Struct, eq=False):
    """An admitted call until it is answered. `settled` turns true once; then `cost_nano` and `tokens` are known.

    `asked`: an upstream may be at work for it. `sent_ms` and `ttft_ms` count from the request, in milliseconds.
    """

    call: Call
    plan: Plan
    hold: Hold
    asked: bool = False
    sent_ms: float | None = None
    ttft_ms: int | None = None
    upstream_request_id: str = ""
    settled: bool = False
    cost_nano: NanoUSD = NanoUSD(0)
    tokens: int = 0

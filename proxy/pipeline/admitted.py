"""A call with a lease, and what becomes known about it until it is answered."""

import msgspec

from gateway_project.ground.money import NanoUSD
from proxy.pipeline.call import Call
from proxy.pipeline.hold import Hold
from proxy.pipeline.plan import Plan


class AdmittedCall(msgspec.Struct, eq=False):
    """An admitted call until it is answered. Once `settled` is true, `cost_nano` and `tokens` are final.

    `upstream_working`: an upstream may be working on it. `sent_ms` and `ttft_ms` are milliseconds since the request.
    """

    call: Call
    plan: Plan
    hold: Hold
    upstream_working: bool = False
    sent_ms: float | None = None
    ttft_ms: int | None = None
    upstream_request_id: str = ""
    settled: bool = False
    cost_nano: NanoUSD = NanoUSD(0)
    tokens: int = 0

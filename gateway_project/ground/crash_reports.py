"""Crashes reported to Sentry, where the `sentry` extra is installed and SENTRY_DSN is set."""

from typing import Any

from gateway_project.ground.extras import require
from gateway_project.ground.logs import redacted


def report_to(dsn: str, *, transport: Any = None) -> None:
    """Report this process's crashes from now on. Raises MissingExtra.

    Bodies, headers and local variables are not sent, since they hold keys and prompts; nor is anything about people.
    """
    require("sentry", because="SENTRY_DSN")
    import sentry_sdk

    sentry_sdk.init(
        dsn=dsn,
        transport=transport,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=without_secrets,
        before_breadcrumb=without_secrets,
    )


def without_secrets(event: Any, _hint: Any = None) -> Any:
    """`event` with every string in it redacted, and without the request's headers, cookies, body and query."""
    if isinstance(event, str):
        return redacted(event)
    if isinstance(event, dict):
        return {
            name: without_secrets(value)
            for name, value in event.items()
            if name not in ("headers", "cookies", "data", "query_string", "env")
        }
    if isinstance(event, (list, tuple)):
        return [without_secrets(each) for each in event]
    return event

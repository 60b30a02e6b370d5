"""Single values as text or HTML: money, counts, shares of a budget, moments."""

from datetime import datetime
from decimal import Decimal

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "–"


def usd(amount: Decimal | None) -> str:
    """An amount in USD with no more places than it needs: `$500.00`, `$0.00375`, `-$3.00`."""
    if amount is None:
        return NOTHING
    sign, amount = ("-" if amount < 0 else ""), abs(amount)
    cents = amount.quantize(Decimal("0.01"))
    if amount == cents or amount >= 1000:
        return f"{sign}${cents:,}"
    return f"{sign}${amount.quantize(Decimal('0.000000001')).normalize():,f}"


def short_usd(amount: Decimal | None) -> str:
    """An amount for a headline: in cents, or `<$0.01` below one cent."""
    if amount is None:
        return NOTHING
    if 0 < amount < Decimal("0.01"):
        return "<$0.01"
    return f"${amount.quantize(Decimal('0.01')):,}" if amount >= 0 else f"-{short_usd(-amount)}"


def count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def short_count(number: int | None) -> str:
    """A large number for a headline: `1.2M`."""
    if number is None:
        return NOTHING
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**4, "k")):
        if number >= size:
            return f"{number / (size if unit != 'k' else 1000):.1f}{unit}"
    return f"{number:,}"


def percent(spent: Decimal, budget: Decimal | None) -> int | None:
    """`spent` in percent of `budget`, rounded down; `None` without a budget."""
    if budget is None:
        return None
    return int(spent * 100 / budget) if budget else (100 if spent else 0)


def bar(*, spent: Decimal, budget: Decimal | None) -> SafeString:
    """The bar of a budget without numbers; empty without a budget."""
    share = percent(spent, budget)
    if share is None:
        return SafeString("")
    return format_html(
        '<div class="c-bar c-{}" role="img" aria-label="{}% of the budget">'
        '<svg aria-hidden="true"><rect width="{}%" height="100%"/></svg></div>',
        "high" if share >= 100 else "near" if share >= 80 else "fine",
        share,
        min(share, 100),
    )


def budget_bar(*, spent: Decimal, budget: Decimal | None, forecast: Decimal | None = None) -> SafeString:
    """Spend against a budget: a bar and both numbers, or the spend alone without a budget."""
    share = percent(spent, budget)
    if share is None:
        return format_html('<span class="c-muted">{} · no budget</span>', short_usd(spent))
    expected = SafeString("")
    if forecast is not None and budget is not None:
        expected = format_html(
            '<small class="{}">forecast {}</small>',
            "c-over" if forecast > budget else "",
            short_usd(forecast),
        )
    return format_html(
        '<div class="c-budget" title="{} of {}">{}<span>{} / {}</span><b>{}%</b>{}</div>',
        usd(spent),
        usd(budget),
        bar(spent=spent, budget=budget),
        short_usd(spent),
        short_usd(budget),
        share,
        expected,
    )


def ago(moment: datetime | None) -> SafeString | str:
    """How long ago, with the exact time on hover."""
    if moment is None:
        return NOTHING
    seconds = int((timezone.now() - moment).total_seconds())
    words, seconds = ("in {}", -seconds) if seconds < 0 else ("{} ago", seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            text = words.format(f"{seconds // size} {unit}")
            break
    else:
        text = "now"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(), f"{moment:%Y-%m-%d %H:%M:%S %Z}", text
    )


_REFUSALS = {
    "rate_limited": "Rate limit reached",
    "user_rate_limited": "Rate limit of an end user reached",
    "concurrency_limited": "Too many concurrent requests",
    "daily_tokens_exceeded": "Daily token limit reached",
    "budget_exceeded": "Budget used up",
    "model_not_allowed": "Model not allowed",
    "invalid_request": "Invalid request",
    "metering_unavailable": "Metering unavailable",
    "tenant_suspended": "Tenant suspended",
    "key_revoked": "API key revoked",
    "key_expired": "API key expired",
    "rerouted": "Another model",
    "downgraded": "Cheaper model",
}


def refusal(code: str) -> str:
    """What a code of the API's error table means. An unknown code is returned as words."""
    return _REFUSALS.get(code) or code.replace("_", " ").capitalize()


def milliseconds(value: int | None) -> str:
    if value is None:
        return NOTHING
    return f"{value} ms" if value < 1000 else f"{value / 1000:.1f} s"

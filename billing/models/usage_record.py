"""The ledger: one row for each upstream call, appended and never changed."""

from functools import reduce
from operator import add

from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now

from billing.events import OVERRAN
from billing.models.model_price import ModelPrice
from billing.usage import TOKENS
from tenants.models import ApiKey, Tenant

# The sum of all tokens of a row, in the ledger or the roll-up.
TOTAL_TOKENS = reduce(add, map(models.F, TOKENS))


class UsageStatus(models.TextChoices):
    OK = "ok", "OK"
    UPSTREAM_ERROR = "upstream_error", "Upstream error"
    CANCELLED = "cancelled", "Cancelled"
    ORPHANED = "orphaned", "Orphaned"


class Wire(models.TextChoices):
    ANTHROPIC = "anthropic", "Anthropic"
    OPENAI = "openai", "OpenAI"


class UsageRecord(models.Model):
    """One upstream call. `created_at` is the time in the request id (UUIDv7); money is USD to the nano-dollar.

    The table is partitioned by the month of `created_at`, so its real primary key is (request_id, created_at). The
    first migration creates it by hand. Its foreign keys have no constraints: a row is never refused because what it
    refers to is gone.
    """

    request_id = models.UUIDField("request ID", primary_key=True)
    created_at = models.DateTimeField()
    recorded_at = models.DateTimeField(
        db_default=Now(), help_text="When the row was written. For late rows, this is well after the call."
    )
    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="usage"
    )
    api_key = models.ForeignKey(
        ApiKey,
        models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="usage",
        verbose_name="API key",
    )
    day = models.DateField(help_text="In the tenant's time zone.")
    period_start = models.DateField(help_text="First day of the tenant's billing period.")
    end_user = models.CharField(max_length=256, db_default="")
    session = models.CharField(max_length=256, db_default="")
    run_id = models.CharField("run ID", max_length=256, db_default="")
    wire = models.CharField("API format", max_length=10, choices=Wire.choices)
    model_requested = models.CharField("requested model", max_length=100, db_default="")
    model = models.CharField(max_length=100)
    route = models.CharField(max_length=100, db_default="")
    stream = models.BooleanField(db_default=False)
    status = models.CharField(max_length=20, choices=UsageStatus.choices)
    http_status = models.PositiveSmallIntegerField("HTTP status", null=True)
    input_tokens = models.PositiveBigIntegerField(db_default=0)
    output_tokens = models.PositiveBigIntegerField(db_default=0)
    cache_read_tokens = models.PositiveBigIntegerField(db_default=0)
    cache_write_5m_tokens = models.PositiveBigIntegerField("cache write tokens (5 min)", db_default=0)
    cache_write_1h_tokens = models.PositiveBigIntegerField("cache write tokens (1 h)", db_default=0)
    web_searches = models.PositiveIntegerField(db_default=0)
    cost_usd = models.DecimalField("cost (USD)", max_digits=20, decimal_places=9, help_text="Sell price.")
    upstream_cost_usd = models.DecimalField(max_digits=20, decimal_places=9, help_text="Cost price.")
    price = models.ForeignKey(
        ModelPrice, models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    estimated = models.BooleanField(db_default=False)
    latency_ms = models.PositiveIntegerField("latency (ms)", null=True)
    ttft_ms = models.PositiveIntegerField("time to first token (ms)", null=True)
    upstream_request_id = models.CharField("upstream request ID", max_length=128, db_default="")
    tags = models.JSONField(encoder=DjangoJSONEncoder, default=dict)
    model_preferred = models.CharField(
        "preferred model",
        max_length=100,
        db_default="",
        help_text="The first choice, if another model served instead (downgrade or fallback).",
    )
    saved_usd = models.DecimalField(
        "saved (USD)",
        max_digits=20,
        decimal_places=9,
        db_default=0,
        help_text="How much more the same tokens would have cost without the downgrade.",
    )
    # What complexity was judged by. The keyword is stored only for automatic routes.
    text_bytes = models.PositiveBigIntegerField("bytes of text", null=True)
    message_count = models.PositiveIntegerField("messages", null=True)
    tool_count = models.PositiveIntegerField("tools", null=True)
    keyword = models.CharField(max_length=100, db_default="")
    note = models.CharField(
        max_length=500, db_default="", help_text="For example, why the cost was estimated."
    )

    class Meta:
        verbose_name = "ledger row"
        verbose_name_plural = "ledger"
        ordering = ["-created_at"]
        default_permissions = ("view",)
        # Only the first begins with `created_at desc`: filters are on one tenant, key, model or fault.
        indexes = [
            models.Index(fields=["-created_at"], name="billing_usage_newest"),
            models.Index(fields=["tenant", "-created_at"], name="billing_usage_tenant"),
            models.Index(fields=["api_key", "-created_at"], name="billing_usage_key"),
            models.Index(fields=["model", "-created_at"], name="billing_usage_model"),
            # For the counters of end users and runs, which are rebuilt from here.
            models.Index(
                fields=["tenant", "end_user", "-created_at"],
                condition=~models.Q(end_user=""),
                name="billing_usage_end_user",
            ),
            models.Index(
                fields=["tenant", "run_id"], condition=~models.Q(run_id=""), name="billing_usage_run"
            ),
            models.Index(
                fields=["status", "-created_at"],
                condition=~models.Q(status="ok"),
                name="billing_usage_faults",
            ),
            models.Index(
                fields=["-created_at"], condition=models.Q(estimated=True), name="billing_usage_estimated"
            ),
            GinIndex(
                fields=["tags"],
                opclasses=["jsonb_path_ops"],
                condition=~models.Q(tags={}),
                name="billing_usage_tags",
            ),
            # Rows come nearly in this order, so some kilobytes a month say which blocks may hold late ones.
            BrinIndex(fields=["recorded_at"], name="billing_usage_recorded"),
            models.Index(
                fields=["-created_at"],
                condition=models.Q(note__startswith=OVERRAN),
                name="billing_usage_overran",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(cost_usd__gte=0, upstream_cost_usd__gte=0),
                name="billing_usagerecord_cost_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=UsageStatus.values), name="billing_usagerecord_status_is_known"
            ),
        ]

    def __str__(self) -> str:
        return str(self.request_id)

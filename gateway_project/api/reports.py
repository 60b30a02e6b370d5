"""The control API's reports from roll-ups: usage by tag, why requests were refused, what downgrades saved."""

from datetime import date, timedelta
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.ledger import refusal_counts, tag_usage
from billing.meter import downgrades
from tenants.models import Tenant

DAYS = 30
SPAN = [
    OpenApiParameter("tenant", str, required=True, description="A tenant's slug."),
    OpenApiParameter(
        "since", OpenApiTypes.DATE, description="First day, in the tenant's time zone. Default: 30 days ago."
    ),
    OpenApiParameter("until", OpenApiTypes.DATE, description="Last day (inclusive)."),
]


class _Query(serializers.Serializer[Any]):
    tenant = serializers.SlugField()
    since = serializers.DateField(required=False)
    until = serializers.DateField(required=False)
    tag = serializers.CharField(required=False, max_length=64)


class TagSumSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(help_text="(other) sums up the values beyond the first 1,000 of a day.")
    requests = serializers.IntegerField()
    tokens = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=24, decimal_places=9)


class TagUsageSerializer(serializers.Serializer[Any]):
    tags = serializers.ListField(child=serializers.CharField(), help_text="Names of the tags in use.")
    results = TagSumSerializer(many=True, help_text="Values of `tag`, the most expensive first.")


class RefusalSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField(help_text="In shadow mode: the model that would have served the request.")
    shadow = serializers.BooleanField(
        help_text="True if the request was served: only limits or rules in shadow mode would have decided this."
    )
    requests = serializers.IntegerField()


class RefusalsSerializer(serializers.Serializer[Any]):
    results = RefusalSerializer(many=True)


class SavedSerializer(serializers.Serializer[Any]):
    period_start = serializers.DateField()
    requests = serializers.IntegerField(help_text="Downgraded requests.")
    paid_usd = serializers.DecimalField(max_digits=24, decimal_places=9)
    would_have_cost_usd = serializers.DecimalField(max_digits=24, decimal_places=9)
    saved_usd = serializers.DecimalField(max_digits=24, decimal_places=9)


class SavingsSerializer(serializers.Serializer[Any]):
    results = SavedSerializer(many=True)


class TagUsageView(APIView):
    """A tenant's usage by the values of one tag, and the tags it uses."""

    @extend_schema(
        parameters=[*SPAN, OpenApiParameter("tag", str, description="Name of the tag.")],
        responses=TagUsageSerializer,
    )
    def get(self, request: Request) -> Response:
        tenant, since, until, tag = _query(request)
        found = tag_usage.by_value(tenant.pk, tag, since=since, until=until) if tag else []
        names = tag_usage.names(tenant.pk, since=since, until=until)
        return Response(TagUsageSerializer({"tags": names, "results": found}).data)


class RefusalsView(APIView):
    """Why a tenant's requests were refused, and what limits and rules in shadow mode would have done."""

    @extend_schema(parameters=SPAN, responses=RefusalsSerializer)
    def get(self, request: Request) -> Response:
        tenant, since, until, _ = _query(request)
        found = refusal_counts.sums(tenant.pk, since=since, until=until)
        return Response(RefusalsSerializer({"results": found}).data)


class SavingsView(APIView):
    """What downgrades saved a tenant in each billing period, compared with the requested models at their own prices."""

    @extend_schema(parameters=SPAN[:1], responses=SavingsSerializer)
    def get(self, request: Request) -> Response:
        tenant, *_ = _query(request)
        return Response(SavingsSerializer({"results": downgrades.saved_by_period(tenant.pk)}).data)


def _query(request: Request) -> tuple[Tenant, date, date | None, str]:
    query = _Query(data=request.query_params)
    query.is_valid(raise_exception=True)
    given = query.validated_data
    since = given.get("since") or timezone.now().date() - timedelta(days=DAYS)
    return get_object_or_404(Tenant, slug=given["tenant"]), since, given.get("until"), given.get("tag", "")

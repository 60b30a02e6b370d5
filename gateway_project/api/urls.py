"""Routes of the control API."""

from django.urls import include, path, re_path
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

from gateway_project.api.books import AdjustmentViewSet, StatementViewSet
from gateway_project.api.catalogue import ModelViewSet, PriceViewSet
from gateway_project.api.description import DocsView, SchemaView
from gateway_project.api.reports import RefusalsView, SavingsView, TagUsageView
from gateway_project.api.tenants import KeyViewSet, TenantViewSet, TierViewSet
from gateway_project.api.usage import UsageCsvView, UsageExportViewSet, UsageListView
from gateway_project.api.webhooks import WebhookViewSet


@extend_schema(exclude=True)
class NothingHere(APIView):
    """A path of the API that does not exist: a 404 in JSON, for those who may use the API."""

    def get(self, request: Request) -> Response:
        raise NotFound("There is no endpoint at this address. See /api/docs/ for the endpoints.")

    post = put = patch = delete = get


# With or without the slash: a redirect would turn a POST into a GET.
OPTIONAL = "/?"
router = SimpleRouter()
router.trailing_slash = OPTIONAL  # its argument is only a boolean
router.register("tenants", TenantViewSet, basename="api-tenant")
router.register("tiers", TierViewSet, basename="api-tier")
router.register("models", ModelViewSet, basename="api-model")
router.register("prices", PriceViewSet, basename="api-price")
router.register("statements", StatementViewSet, basename="api-statement")
router.register("webhooks", WebhookViewSet, basename="api-webhook")
router.register("adjustments", AdjustmentViewSet, basename="api-adjustment")
router.register("exports", UsageExportViewSet, basename="api-export")
keys = SimpleRouter()
keys.trailing_slash = OPTIONAL
keys.register("keys", KeyViewSet, basename="api-key")

urlpatterns = [
    path("", include(router.urls)),
    path("tenants/<slug:tenant_slug>/", include(keys.urls)),
    re_path(r"^usage/?$", UsageListView.as_view(), name="api-usage"),
    re_path(r"^usage/tags/?$", TagUsageView.as_view(), name="api-usage-tags"),
    re_path(r"^usage/refusals/?$", RefusalsView.as_view(), name="api-usage-refusals"),
    re_path(r"^usage/savings/?$", SavingsView.as_view(), name="api-usage-savings"),
    path("usage.csv", UsageCsvView.as_view(), name="api-usage-csv"),
    re_path(r"^schema/?$", SchemaView.as_view(), name="schema"),
    re_path(r"^docs/?$", DocsView.as_view(url_name="schema"), name="api-docs"),
    re_path("", NothingHere.as_view()),  # last: a path that no route fits
]

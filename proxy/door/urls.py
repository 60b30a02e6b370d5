"""The data plane's routes. Whatever is not here (batches, files) is a 404: it would be unmetered spending."""

from django.urls import path

from proxy.dialects import DIALECTS
from proxy.door import views

urlpatterns = [
    *(path(dialect.upstream_path.removeprefix("/"), views.Calls.as_view()) for dialect in DIALECTS),
    path("v1/messages/count_tokens", views.CountTokensView.as_view()),
    path("v1/models", views.ModelListView.as_view()),
    path("v1/models/<path:name>", views.ModelView.as_view()),
    path("v1/usage", views.UsageView.as_view()),
    path("v1/budget", views.BudgetView.as_view()),
    path("v1/requests/<str:request_id>", views.ReceiptView.as_view()),
    path("v1/route", views.RouteView.as_view()),
]

"""The URLs of the control plane: the console, the portal, the control API."""

from django.contrib import admin
from django.urls import include, path

from gateway_project.accounts import second_factor
from gateway_project.console.tenant_decisions import decision_page, decisions_box, simulation_page
from gateway_project.front_door import favicon, front_door
from tenants.admin.account_choice import ChoiceList

urlpatterns = [
    path("", front_door),
    path("favicon.ico", favicon),
    path(
        "admin/tenants/tenant/<int:tenant_id>/decisions/",
        admin.site.admin_view(decisions_box),
        name="tenant-decisions",
    ),
    path(
        "admin/tenants/tenant/<int:tenant_id>/decision/",
        admin.site.admin_view(decision_page),
        name="tenant-decision",
    ),
    path(
        "admin/tenants/tenant/<int:tenant_id>/simulation/",
        admin.site.admin_view(simulation_page),
        name="tenant-simulation",
    ),
    path("admin/autocomplete/", admin.site.admin_view(ChoiceList.as_view(admin_site=admin.site))),
    path("admin/", admin.site.urls),
    path("api/", include("gateway_project.api.urls")),
    path("portal/", include("gateway_project.portal.urls")),
    path("account/second-factor/", second_factor, name="second-factor"),
]

"""The portal's URLs. Those below a tenant's slug are only for its members."""

from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_required
from django.urls import include, path, reverse_lazy

from gateway_project.accounts import PortalLogin
from gateway_project.portal import (
    confirm_address,
    join,
    keys,
    limits,
    overview,
    passwords,
    people,
    quickstart,
    statements,
    usage,
    webhooks,
)

app_name = "portal"
tenant = [
    path("", overview.overview, name="overview"),
    path("usage/", usage.usage, name="usage"),
    path("usage.csv", usage.usage_csv, name="usage-csv"),
    path("requests/", usage.requests, name="requests"),
    path("requests/<uuid:request_id>/", usage.receipt, name="receipt"),
    path("limits/", limits.limits, name="limits"),
    path("quickstart/", quickstart.quickstart, name="quickstart"),
    path("keys/", keys.keys, name="keys"),
    path("keys/<int:key_id>/rotate/", keys.rotate, name="key-rotate"),
    path("keys/<int:key_id>/revoke/", keys.revoke, name="key-revoke"),
    path("webhooks/", webhooks.webhooks, name="webhooks"),
    path("webhooks/<int:endpoint_id>/test/", webhooks.test, name="webhook-test"),
    path("webhooks/<int:endpoint_id>/confirmation/", webhooks.confirmation, name="webhook-confirmation"),
    path("webhooks/<int:endpoint_id>/rotate/", webhooks.rotate, name="webhook-rotate"),
    path("webhooks/<int:endpoint_id>/remove/", webhooks.remove, name="webhook-remove"),
    path("webhooks/deliveries/<int:delivery_id>/", webhooks.delivery, name="delivery"),
    path("webhooks/deliveries/<int:delivery_id>/again/", webhooks.again, name="delivery-again"),
    path("statements/", statements.statements, name="statements"),
    path(
        "statements/<int:statement_id>.csv", statements.statement_file, {"kind": "csv"}, name="statement-csv"
    ),
    path(
        "statements/<int:statement_id>.pdf", statements.statement_file, {"kind": "pdf"}, name="statement-pdf"
    ),
    path("balance/", statements.balance, name="balance"),
    path("people/", people.people, name="people"),
    path("people/<int:membership_id>/remove/", people.remove, name="person-remove"),
    path("people/invitations/<int:invitation_id>/resend/", people.resend, name="invitation-resend"),
    path(
        "people/invitations/<int:invitation_id>/withdraw/",
        people.withdraw_invitation,
        name="invitation-withdraw",
    ),
]
urlpatterns = [
    path("", people.home, name="home"),
    path(
        "login/",
        auth.LoginView.as_view(
            template_name="portal/login.html",
            authentication_form=PortalLogin,
            next_page="portal:home",
            extra_context={"title": "Log in"},
        ),
        name="login",
    ),
    path(
        "password/",
        login_required(passwords.PasswordChange.as_view(), login_url=reverse_lazy("portal:login")),
        name="password",
    ),
    path("password/forgotten/", passwords.Forgotten.as_view(), name="password-forgotten"),
    path("password/sent/", passwords.sent, name="password-sent"),
    path("password/<uidb64>/<token>/", passwords.Choose.as_view(), name="password-choose"),
    path("logout/", auth.LogoutView.as_view(next_page="portal:login"), name="logout"),
    path("join/<str:token>/", join.join, name="join"),
    path("email/<str:token>/", confirm_address.confirm_address, name="confirm-address"),
    path("t/<slug:slug>/", include(tenant)),
]

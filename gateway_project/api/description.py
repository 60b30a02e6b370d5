"""The control API's description, and who may read it."""

from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from gateway_project.api.access import OperatorAuthentication


class MayReadDescription(BasePermission):
    """Staff, by token or the console's session; with API_DOCS_PUBLIC everybody."""

    message = "The API docs are for staff only. To make them public, set API_DOCS_PUBLIC=1."

    def has_permission(self, request: Request, view: Any) -> bool:
        return settings.API_DOCS_PUBLIC or bool(request.user and request.user.is_staff)


class SchemaView(SpectacularAPIView):
    """As OpenAPI."""

    authentication_classes = [OperatorAuthentication, SessionAuthentication]
    permission_classes = [MayReadDescription]


class DocsView(SpectacularSwaggerSplitView):
    """As pages. Who is not logged in is sent to do so: a person reads this."""

    authentication_classes = [OperatorAuthentication, SessionAuthentication]
    permission_classes = [MayReadDescription]

    def handle_exception(self, exc: Exception) -> Any:
        answer = super().handle_exception(exc)
        if answer.status_code == 401:
            return redirect_to_login(self.request.get_full_path(), settings.LOGIN_URL)
        return answer

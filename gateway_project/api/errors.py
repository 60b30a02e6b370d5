"""Turn what PostgreSQL refuses, although the serializers accepted it, into errors of the caller."""

import logging
from typing import Any

from django.apps import apps
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.db.models import ProtectedError
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_frameworks_handler

from gateway_project.ground.statement_timeout import too_slow_text, was_too_slow

logger = logging.getLogger("tenantry.billing")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's handler, extended by refusals of the database. `None` means a fault of ours."""
    if isinstance(error, ProtectedError):
        kinds = sorted({str(row._meta.verbose_name_plural) for row in error.protected_objects})
        detail = f"It is in use by {', '.join(kinds)}. Change those first."
        return Response({"detail": detail}, status.HTTP_409_CONFLICT)
    if isinstance(error, IntegrityError) and (broken := _constraint(error)):
        return rest_frameworks_handler(
            ValidationError({"detail": [broken.get_violation_error_message()]}), context
        )
    if isinstance(error, DataError):
        detail = "A value cannot be stored or searched for, for example text with a null character."
        return rest_frameworks_handler(ValidationError({"detail": [detail]}), context)
    if was_too_slow(error):
        return Response({"detail": too_slow_text()}, status.HTTP_503_SERVICE_UNAVAILABLE)
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("The control API has no database", exc_info=error)
        detail = "The database is unavailable. Try again shortly."
        return Response({"detail": detail}, status.HTTP_503_SERVICE_UNAVAILABLE, headers={"retry-after": "2"})
    return rest_frameworks_handler(error, context)


def _constraint(error: IntegrityError) -> Any:
    """The constraint of our models that `error` is about."""
    diagnostics = getattr(error.__cause__, "diag", None)
    name = diagnostics.constraint_name if diagnostics else None
    ours = (each for model in apps.get_models() for each in model._meta.constraints)
    return next((each for each in ours if each.name == name), None)

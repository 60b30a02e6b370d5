"""Who may use the control API."""

from typing import Any

from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants.people.operators import find_token


class OperatorAuthentication(TokenAuthentication):
    """`Authorization: Token …`, compared by digest."""

    def authenticate_credentials(self, key: str) -> tuple[Any, Any]:
        token = find_token(key)
        if token is None:
            raise AuthenticationFailed("Invalid token.")
        return token.user, token


class IsOperator(BasePermission):
    """A superuser, as `manage.py create_operator` makes them.

    Someone whose superuser status was later replaced by a role has that role's pages in the console. Their old token
    does not give them more.
    """

    message = "The owner of this token is not an operator. To create one, run manage.py create_operator NAME."

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return bool(user and user.is_staff and user.is_superuser)

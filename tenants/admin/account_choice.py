"""Select boxes for accounts, which show whether each account's address is verified: a name alone proves nothing."""

from typing import Any

from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.auth.models import User


class ChoiceList(AutocompleteJsonView):
    """The results for select boxes with a search."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        choice: dict[str, str] = super().serialize_result(obj, to_field_name)
        if isinstance(obj, User):
            verified = getattr(obj, "email_is_verified", False)
            choice["text"] += " · email verified" if verified else " · email NOT verified"
        return choice

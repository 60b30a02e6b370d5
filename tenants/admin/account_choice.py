"""Choosing an account for something: its name alone proves nothing, so the list says whether its address does."""

from typing import Any

from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.auth.models import User


class ChoiceList(AutocompleteJsonView):
    """What select boxes with a search ask for."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        choice: dict[str, str] = super().serialize_result(obj, to_field_name)
        if isinstance(obj, User):
            verified = getattr(obj, "email_is_verified", False)
            choice["text"] += " · email verified" if verified else " · email NOT verified"
        return choice

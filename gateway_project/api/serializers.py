"""What the control API's serializers and views share: unknown fields are refused, and updates lock their row."""

from typing import Any

from django.db import transaction
from rest_framework import serializers
from rest_framework.pagination import CursorPagination, PageNumberPagination


class Strict(serializers.Serializer[Any]):
    """Refuses fields it does not know: a misspelt limit must not look as if it had been set."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := set(data) - set(self.fields)):
            known = ", ".join(name for name, field in self.fields.items() if not field.read_only)
            raise serializers.ValidationError(
                {name: [f"No such field. Known: {known}."] for name in sorted(unknown)}
            )
        return super().to_internal_value(data)

    @transaction.atomic
    def create(self, validated_data: dict[str, Any]) -> Any:
        given = set(validated_data)
        row = super().create(validated_data)
        self.check(row, given)
        return row

    @transaction.atomic
    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        """Update the row as it is now, locked, so that what others changed since it was read (a key revoked, a top-up
        booked) is not overwritten.
        """
        given = set(validated_data)
        row = type(instance)._default_manager.select_for_update(no_key=True).get(pk=instance.pk)
        row = super().update(row, validated_data)
        self.check(row, given)
        return row

    def check(self, row: Any, given: set[str]) -> None:
        """Refuse changes of the fields `given` that contradict the locked row. Raising undoes the update.

        Contradictions from before do not block other changes: a tenant can always be suspended.
        """


class Pages(PageNumberPagination):
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000


class UsagePages(CursorPagination):
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000
    ordering = ("-created_at", "-request_id")

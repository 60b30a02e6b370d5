"""Forms that refuse to save if the row has changed since their page was loaded.

A page left open would overwrite what others changed meanwhile. So it carries a fingerprint of the values it was filled
with. Saving compares that with the row as it is then, which `ConsolePage` has locked.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

from auditlog.models import LogEntry
from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.utils import timezone

FIELD = "as_shown"


class AsShown(forms.BaseForm):
    """Mixin for a form that changes existing values. Its page sends `as_shown` back unchanged."""

    def shown(self) -> dict[str, Any]:
        """The current values that saving would overwrite."""
        values = {
            name: field.prepare_value(self.get_initial_for_field(field, name))
            for name, field in self.fields.items()
            if not field.disabled
        }
        return {
            name: sorted(map(str, each)) if isinstance(each, list) else each for name, each in values.items()
        }

    @property
    def as_shown(self) -> str:
        """When the page was loaded, and the fingerprint of its values, signed. Of a submitted form, what was sent."""
        if self.is_bound:
            sent: str = self.data.get(FIELD, "")
            return sent
        return signing.dumps([timezone.now().isoformat(), self._fingerprint()], salt=FIELD)

    def clean(self) -> dict[str, Any] | None:
        cleaned: dict[str, Any] | None = super().clean()
        if self.as_shown:
            self._refuse_if_changed()
        return cleaned

    def _refuse_if_changed(self) -> None:
        try:
            since, fingerprint = signing.loads(self.as_shown, salt=FIELD)
        except signing.BadSignature:
            since, fingerprint = "", ""
        if fingerprint != self._fingerprint():
            raise ValidationError(
                f"Nothing was saved: {self._last_editor(since)} changed this while the page was open. "
                "Reload the page to see the current values, then make your change again."
            )

    def _fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.shown(), sort_keys=True, default=str).encode()).hexdigest()

    def _last_editor(self, since: str) -> str:
        """Who changed the row since then, by the audit trail; "somebody" if only related rows changed."""
        entries = LogEntry.objects.get_for_object(getattr(self, "instance", None))
        entry = entries.filter(timestamp__gte=datetime.fromisoformat(since)).first() if since else None
        return f"{entry.actor} ({entry.timestamp:%H:%M} UTC)" if entry and entry.actor else "somebody"


class AsShownForm(AsShown, forms.ModelForm):
    """The same for a model's row. A new row has nothing to compare with."""

    @property
    def as_shown(self) -> str:
        return super().as_shown if self.instance.pk else ""

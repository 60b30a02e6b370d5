"""The form of an endpoint, with its events as checkboxes."""

from typing import Any

from django import forms
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from billing.models import WebhookEndpoint
from billing.webhooks.event_types import MEANINGS, offered
from gateway_project.console_kit.stale_forms import AsShownForm


class EndpointForm(AsShownForm):
    events = forms.MultipleChoiceField(
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="If none is selected, all events are sent.",
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("url", "tenant", "description", "enabled", "events")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "events" not in self.fields:  # read-only for people who may not change it
            return
        choices = offered(to_tenant=self.instance.tenant_id is not None)
        others = [each for each in self.instance.events if each not in choices]
        self.fields["events"].choices = [(each, _label(each)) for each in (*choices, *others)]  # type: ignore[attr-defined]


def _label(event: str) -> str:
    meaning = MEANINGS.get(event, "This event does not exist, so nothing is sent for it. Clear the checkbox.")
    return format_html("<code>{}</code> {}", event, meaning)

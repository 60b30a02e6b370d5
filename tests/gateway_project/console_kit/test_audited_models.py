"""What the audit trail keeps."""

import pytest
from django.apps import apps

from gateway_project.console_kit.audited_models import AUDITED_MODELS

NAMES = [each if isinstance(each, str) else str(each["model"]) for each in AUDITED_MODELS]
# A copy of the trail must open nothing.
SECRET = {"digest", "password", "secret", "previous_secret", "api_key", "seed"}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_there(name):
    assert apps.get_model(name)


@pytest.mark.parametrize("entry", AUDITED_MODELS, ids=NAMES)
def test_no_secret_is_kept(entry):
    options = {} if isinstance(entry, str) else entry
    model = apps.get_model(NAMES[AUDITED_MODELS.index(entry)])
    fields = {field.name for field in model._meta.concrete_fields if not field.is_relation}
    kept = set(options.get("include_fields", fields - set(options.get("exclude_fields", ()))))

    secrets = {name for name in kept & SECRET if name in fields}

    assert secrets == set()


def test_nothing_is_listed_twice():
    assert len(NAMES) == len(set(NAMES))

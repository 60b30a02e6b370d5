import pytest
from django.db import IntegrityError, transaction

from tests.factories import ComplexityRuleFactory, ModelFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "threshold", "subject": "max_simple_bytes"},
        {"kind": "threshold", "subject": "max_simple_cats", "value": 3},
        {"kind": "keyword", "subject": "compare", "value": 3},
        {"kind": "keyword", "subject": ""},
    ],
)
def test_a_rule_fits_its_kind(wrong):
    with pytest.raises(IntegrityError, match="fits_its_kind"), transaction.atomic():
        ComplexityRuleFactory(**wrong)


@pytest.mark.parametrize("field", ["downgrade_to", "fallback_to"])
def test_a_model_never_gives_way_to_itself(field):
    model = ModelFactory()
    setattr(model, field, model)

    with pytest.raises(IntegrityError, match="to_another"), transaction.atomic():
        model.save()

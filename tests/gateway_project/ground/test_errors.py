"""The base of every error that a caller sees."""

from gateway_project.ground.errors import TenantryError


def test_an_error_without_details_has_none_and_shares_none():
    first, second = TenantryError("a"), TenantryError("b")
    first.details["param"] = "x"
    first.headers["retry-after"] = "1"

    assert (second.message, second.details, second.headers) == ("b", {}, {})
    assert str(first) == "a"


def test_what_no_subclass_names_is_a_fault_of_ours():
    error = TenantryError("a")

    assert (error.status, error.code, error.type) == (500, "internal_error", "api_error")

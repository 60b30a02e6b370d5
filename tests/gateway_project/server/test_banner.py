"""What `make up` says when everything is ready."""

import json

from gateway_project.server.banner import greeting, read_demo, who_is_missing

DEMO = {"password": "pw-admin", "portal": "pw-portal", "keys": {"acme-corp": "the-key", "free-user": "other"}}


def said(**values):
    return "\n".join(greeting(**{"base": "http://127.0.0.1:8000", "demo": DEMO, "sandbox": False, **values}))


def test_it_has_every_door_with_what_opens_it():
    text = said()

    assert all(
        word in text for word in ("/admin/", "/portal/", "/api/docs/", "pw-admin", "pw-portal", "other")
    )
    assert "x-api-key: the-key" in text


def test_without_a_demo_no_password_is_shown():
    text = said(demo={})

    assert "(yours)" in text
    assert "Portal" not in text
    assert "curl" not in text


def test_the_sandbox_is_named_as_one():
    assert "SANDBOX" in said(sandbox=True)
    assert "SANDBOX" not in said()


def test_where_nobody_answers_the_web_process_is_missing():
    assert who_is_missing("http://127.0.0.1:1") == ["web"]


def test_the_demo_is_read_from_its_file(tmp_path):
    assert read_demo(tmp_path) == {}
    (tmp_path / "demo.json").write_text(json.dumps(DEMO))
    assert read_demo(tmp_path) == DEMO

"""Whether a start has anything to prepare."""

import pytest

from gateway_project.server.prepared import is_prepared, note_settings, seen_settings, settings_changed


def test_settings_count_as_changed_until_they_were_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("THING", "1")
    assert settings_changed(tmp_path, seen_settings(["THING"]))

    note_settings(tmp_path, seen_settings(["THING"]))

    assert not settings_changed(tmp_path, seen_settings(["THING"]))


def test_another_value_is_a_change(tmp_path, monkeypatch):
    monkeypatch.setenv("THING", "1")
    note_settings(tmp_path, seen_settings(["THING"]))
    monkeypatch.setenv("THING", "2")

    assert settings_changed(tmp_path, seen_settings(["THING"]))


def test_no_value_is_kept_readable(tmp_path, monkeypatch):
    monkeypatch.setenv("THING", "a-secret-value")
    note_settings(tmp_path, seen_settings(["THING"]))

    assert "a-secret-value" not in (tmp_path / "settings.seen").read_text()
    assert (tmp_path / "settings.seen").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("noted", [None, "{", "{}"])
def test_without_a_note_that_can_be_read_everything_is_prepared(tmp_path, noted):
    if noted is not None:
        (tmp_path / "prepared.json").write_text(noted)

    assert not is_prepared(tmp_path, "postgresql://nobody@127.0.0.1:1/none")

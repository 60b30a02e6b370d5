"""Email: sent, or a sentence that says why not."""

from smtplib import SMTPServerDisconnected

import pytest
from django.core import mail
from django.core.mail import EmailMessage

from gateway_project.outgoing_email import EmailNotSent, one_line, public_link, send


@pytest.fixture
def an_email():
    return EmailMessage(subject="Hello", body="Hi", to=["ada@example.com"])


def test_an_email_is_handed_over(an_email):
    send(an_email)

    assert [each.to for each in mail.outbox] == [["ada@example.com"]]


def test_without_a_mail_server_the_variable_is_named(an_email, settings):
    settings.EMAIL_HOST = ""

    with pytest.raises(EmailNotSent, match="EMAIL_HOST is not set"):
        send(an_email)


@pytest.mark.parametrize("error", [SMTPServerDisconnected("gone"), ConnectionRefusedError("no")])
def test_a_mail_server_that_fails_is_said_and_its_words_go_to_the_log(an_email, monkeypatch, caplog, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(EmailMessage, "send", fails)

    with pytest.raises(EmailNotSent, match="the mail server did not accept it"):
        send(an_email)
    assert str(error) in caplog.text


def test_a_line_break_ends_no_header():
    assert one_line("a\r\nBcc: b@example.com") == "a Bcc: b@example.com"


def test_a_link_leads_to_the_public_address(settings):
    settings.PUBLIC_URL = "https://gateway.example.com"

    assert public_link("/portal/") == "https://gateway.example.com/portal/"

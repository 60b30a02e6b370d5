"""Tasks for work that a page must not wait for."""

from celery import shared_task

from tenants.people.passwords import mail_links


@shared_task
def mail_password_links(email: str) -> int:
    return mail_links(email)

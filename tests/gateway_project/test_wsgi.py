"""The WSGI entry: the control plane alone."""

import pytest
from django.test import RequestFactory

from gateway_project.wsgi import application

pytestmark = pytest.mark.django_db


def answered(path):
    said = []

    def start(status, headers, error=None, /):
        said.append(status)
        return said.append

    body = application(RequestFactory().get(path).environ, start)
    assert list(body)
    return said[0]


def test_the_console_answers():
    assert answered("/admin/login/") == "200 OK"


def test_the_data_plane_does_not():
    assert answered("/v1/models").startswith("404")

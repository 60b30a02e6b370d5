"""The data plane's routes. What is not here (batches, files) is a 404, or it would be unmetered spending."""

from django.urls import path

from proxy.views import Messages

urlpatterns = [
    path("v1/messages", Messages.as_view()),
    path("v1/chat/completions", Messages.as_view()),
]

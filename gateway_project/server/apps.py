"""Django's entry to the app: the back-up commands, and the checks of an installation's settings."""

from django.apps import AppConfig


class ServerConfig(AppConfig):
    name = "gateway_project.server"
    verbose_name = "Server"

    def ready(self) -> None:
        from gateway_project.server import checks as checks  # registers them

"""Django's entry to the app: the back-up's commands, and the checks of an installation's own settings."""

from django.apps import AppConfig


class ServerConfig(AppConfig):
    name = "gateway_project.server"
    verbose_name = "Server"

    def ready(self) -> None:
        from gateway_project.server import checks as checks  # registers them

"""Run by the installation's own Python: every module imports, every command answers `--help`. Prints what it found."""

import importlib
import os
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway_project", "routing", "tenants", "billing", "proxy")
EXTRAS = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def modules() -> Iterator[str]:
    for top in PACKAGES:
        yield top
        for each in pkgutil.walk_packages([str(HOME / top)], f"{top}."):
            if not each.name.endswith("__main__"):
                yield each.name


def fault_of_module(name: str) -> str:
    """Why it does not import; nothing for one that does, or that asks for an extra by name."""
    try:
        importlib.import_module(name)
    except Exception as error:
        if any(f"'.[{extra}]'" in str(error) for extra in EXTRAS):
            return ""
        return f"{name}: {type(error).__name__}: {error}"
    return ""


def fault_of_command(name: str, app: str) -> str:
    from django.core.management import load_command_class

    try:
        load_command_class(app, name).create_parser("manage.py", name).format_help()
    except Exception as error:
        return f"manage.py {name}: {type(error).__name__}: {error}"
    return ""


def main() -> None:
    sys.path.insert(0, str(HOME))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    import django
    from django.core.management import get_commands

    django.setup()
    names, commands = list(modules()), sorted(get_commands().items())
    faults = [fault_of_module(name) for name in names]
    faults += [fault_of_command(name, str(app)) for name, app in commands]
    if any(faults):
        sys.exit("\n".join(filter(None, faults)))
    print(f"{len(names)} modules, {len(commands)} commands")


if __name__ == "__main__":
    main()

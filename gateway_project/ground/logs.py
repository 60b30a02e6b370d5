"""Text or JSON lines (LOG_FORMAT) without a secret in them, from a process's first line to its last."""

import logging
import logging.config
import os
import re
import sys
import threading
import time
from types import TracebackType
from typing import Any

import msgspec

# Keys of ours, of operators and upstreams, webhook secrets, tokens, links that let somebody in; what headers, addresses
# and settings are given as passwords.
_SECRETS = re.compile(
    r"""(?P<start>
        tn_ | tnop_ | whsec_ | /portal/(?:join|email)/ | /portal/password/[^/\s]+/ | sk-(?:ant-)?
      | (?i:\b(?:bearer|basic)\s+)
      | (?i:\btoken\s+)(?=[A-Za-z0-9]{20})
      | (?i:authorization \\?['"]? \s*[:=,]\s* b?\\?['"]? (?:[a-z]+\s+)?)
      | (?i:(?:x-api-key|api_key|secret_key|password|passwd) \\?['"]? \s*[:=,]\s* b?\\?['"]?)
    ) (?!None\b|True\b|False\b|\[redacted) [A-Za-z0-9_\-+/=.$!%^*~]{8,}""",
    re.VERBOSE,
)
_IN_ADDRESS = re.compile(r"(?P<start>\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]*:)[^\s/'\"]+(?=@)")
_STANDARD = set(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
_TEXT = "%(levelname)s %(name)s: %(message)s"
logger = logging.getLogger("tenantry.process")


def redacted(text: str) -> str:
    """`text` with what looks like a secret cut after its first characters."""
    for pattern in (_IN_ADDRESS, _SECRETS):
        text = pattern.sub(lambda found: f"{found['start']}[redacted]", text)
    return text


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, what `extra` brought, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        # Before it is written as JSON: in there a quote is a backslash and a quote, and a cut could take one of them.
        return msgspec.json.encode(_redacted(line), enc_hook=lambda value: redacted(str(value))).decode()


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redacted(value)
        case dict():
            return {redacted(str(name)): _redacted(each) for name, each in value.items()}
        case list() | tuple():
            return [_redacted(each) for each in value]
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        case bool() | int() | float() | None:
            return value
    return redacted(str(value))


def is_json() -> bool:
    return os.environ.get("LOG_FORMAT") == "json"


def begin() -> None:
    """Log as LOG_FORMAT says before settings are read; what ends this process is a line of the log, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if is_json() else TextFormatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    _take_the_rest()


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: `config`, and everything that would go past it."""
    logging.config.dictConfig(config)
    _take_the_rest()


def line_of(name: str, text: str, *, level: str = "INFO") -> str:
    """`text`, which no logger wrote, as a line: as it is, or as the object that JSON logs have."""
    if not is_json():
        return redacted(text)
    found = {"time": time.time(), "level": level, "logger": name, "message": redacted(text)}
    return msgspec.json.encode(found).decode()


def relayed(name: str, line: str, *, label: str) -> str:
    """A line of the child `name`: after its label, or, in JSON logs, as an object that says who wrote it."""
    if not is_json():
        return f"{label} {redacted(line)}"
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        return line_of(name, line)
    return msgspec.json.encode({**found, "process": name}).decode()


def _take_the_rest() -> None:
    """Hooks that somebody else has set stay: a crash reporter's call the one they found."""
    logging.captureWarnings(True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not issubclass(told.exc_type, SystemExit):
        name = told.thread.name if told.thread else "?"
        logger.error(
            "Thread %s: %s",
            name,
            told.exc_value,
            exc_info=(told.exc_type, told.exc_value, told.exc_traceback),
        )


def _unraisable(told: Any) -> None:
    text = told.err_msg or "Exception ignored in"
    logger.error("%s %r", text, told.object, exc_info=(told.exc_type, told.exc_value, told.exc_traceback))

"""Log lines as text or JSON (LOG_FORMAT), with secrets redacted, from a process's first line to its last."""

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

# Keys of tenants, operators and upstreams, webhook secrets, tokens, and links that let somebody in; and the values of
# headers and settings that are passwords.
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
    """`text` with everything that looks like a secret replaced by `[redacted]` after its prefix."""
    for pattern in (_IN_ADDRESS, _SECRETS):
        text = pattern.sub(lambda match: f"{match['start']}[redacted]", text)
    return text


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields of `extra`, and the exception."""

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
        # Redacted before it is encoded: in JSON a quote is escaped, and a redaction could take one half of that.
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
    """Log as LOG_FORMAT says, before Django's settings are read. Uncaught exceptions are logged, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if is_json() else TextFormatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    _install_hooks()


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: apply `config`, and log warnings and uncaught exceptions as well."""
    logging.config.dictConfig(config)
    _install_hooks()


def line_of(name: str, text: str, *, level: str = "INFO") -> str:
    """`text`, which no logger wrote, as a line of the log in LOG_FORMAT."""
    if not is_json():
        return redacted(text)
    fields = {"time": time.time(), "level": level, "logger": name, "message": redacted(text)}
    return msgspec.json.encode(fields).decode()


def relayed(name: str, line: str, *, label: str) -> str:
    """A line that the child process `name` wrote: behind `label`, or in JSON logs as an object with `process`."""
    if not is_json():
        return f"{label} {redacted(line)}"
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = None
    if not isinstance(fields, dict):
        return line_of(name, line)
    return msgspec.json.encode({**fields, "process": name}).decode()


def _install_hooks() -> None:
    """Log warnings and uncaught exceptions. A crash reporter's hooks stay: they call the ones they replaced."""
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


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread else "?"
        logger.error(
            "Thread %s: %s",
            name,
            args.exc_value,
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )


def _unraisable(args: Any) -> None:
    text = args.err_msg or "Exception ignored in"
    logger.error("%s %r", text, args.object, exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

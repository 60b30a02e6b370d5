"""Log records as JSON lines, and no secret in any of them."""

import logging
import re
from typing import Any

import msgspec

# Keys of ours, of operators and upstreams, webhook secrets, bearer tokens, links that let somebody in.
_SECRETS = re.compile(
    r"(?P<start>tn_|tnop_|whsec_|/portal/(?:join|email)/|/portal/password/[^/\s]+/|sk-(?:ant-)?|(?i:bearer)\s+|(?i:x-api-key['\"]?\s*[:=]\s*['\"]?))[A-Za-z0-9_\-+/=.]{8,}"
)
_STANDARD = set(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}


def redacted(text: str) -> str:
    """`text` with what looks like a secret cut after its first characters."""
    return _SECRETS.sub(lambda found: f"{found['start']}[redacted]", text)


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
        return redacted(msgspec.json.encode(line, enc_hook=str).decode())

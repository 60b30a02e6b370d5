"""Settings by topic. Every value an installation may change is read from the environment here."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

# Wherever settings are loaded, tasks must find their app. `make up` itself loads none, and stays small.
from gateway_project.celery import app as celery_app  # noqa: F401
from gateway_project.console_kit.audited_models import AUDITED_MODELS
from gateway_project.console_kit.site import UNFOLD as UNFOLD
from gateway_project.ground import env
from gateway_project.ground.crash_reports import report_to
from gateway_project.ground.extras import require
from gateway_project.ground.redis_address import cluster_address

BASE_DIR = Path(__file__).resolve().parent.parent

# --- The installation ---
DEBUG = env.flag("DEBUG")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
if _without_scheme := [each for each in CSRF_TRUSTED_ORIGINS if "://" not in each]:
    raise ImproperlyConfigured(
        f"CSRF_TRUSTED_ORIGINS must look like https://gateway.example.com, not {_without_scheme[0]!r}."
    )
DATA_DIR = env.folder("DATA_DIR", BASE_DIR / ".data")
PORT = env.integer("PORT", 8000, least=1, most=65535)
_secret_file = DATA_DIR / "secret_key"  # written by `make up`
SECRET_KEY = env.text("SECRET_KEY") or (_secret_file.read_text() if _secret_file.exists() else "")
if DEBUG:
    SECRET_KEY = SECRET_KEY or "insecure-for-development-only"
elif len(SECRET_KEY) < 32 or SECRET_KEY.startswith("insecure"):
    raise ImproperlyConfigured("SECRET_KEY must be set to 32 random characters or more (or DEBUG=1).")
if not DEBUG and "*" in ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS must list the host names to serve. '*' is only allowed with DEBUG=1."
    )
WEB_WORKERS = env.integer("WEB_WORKERS", 1, least=1, most=256)
# Seconds that open calls have to finish when a process is asked to stop. Then they are cut, with an error.
SHUTDOWN_GRACE_SECONDS = env.shutdown_grace()
# The public address. Links in emails start with it, never with the Host header, which a caller chooses.
PUBLIC_URL = env.origin("PUBLIC_URL", f"http://127.0.0.1:{PORT}")

# --- TLS is terminated in front of us. It is expected if a public host is served, unless HTTPS=0. ---
HTTPS = env.flag("HTTPS", default=not DEBUG and any(env.is_public(host) for host in ALLOWED_HOSTS))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = env.flag("HSTS_SUBDOMAINS")
# HSTS for subdomains and preloading affect more than the gateway's host, so they are the operator's choice.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SESSION_ENGINE = "gateway_project.sessions"
SESSION_COOKIE_AGE = 12 * 3600

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "auditlog",
    "axes",
    "django_otp",
    "gateway_project.server",
    "routing",
    "tenants",
    "billing",
    "proxy",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "gateway_project.content_security.content_security",
    "gateway_project.unreadable_addresses.refuse_null_characters",
    "gateway_project.ground.statement_timeout.StatementTimeout",
    "gateway_project.compression.PageCompression",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "auditlog.middleware.AuditlogMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "gateway_project.urls"
ASGI_APPLICATION = "gateway_project.asgi.application"
WSGI_APPLICATION = "gateway_project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["gateway_project.console_kit.template_filters"],
        },
    }
]


# --- PostgreSQL and Redis: given, or the embedded ones below DATA_DIR ---
DATABASE_POOL_SIZE = env.integer("DATABASE_POOL_SIZE", 16, least=1, most=10_000)


def _database(url: str) -> dict[str, object]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL is not valid: {error}.") from error
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    host = query.pop("host", "") or unquote(parts.hostname or "")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "postgres",
        "USER": unquote(parts.username or "") or query.pop("user", ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(port or query.pop("port", "")),
        "CONN_MAX_AGE": 0,
        # After a restart of PostgreSQL the pool is full of dead connections, each of which would be somebody's error.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **query,
            "connect_timeout": 3,
            "pool": {"min_size": 0, "max_size": DATABASE_POOL_SIZE, "timeout": 5},
        },
    }


def _embedded(file: str, otherwise: str) -> str:
    """The address that an embedded server left in DATA_DIR when it started."""
    address = DATA_DIR / file
    return address.read_text().strip() if address.exists() else otherwise


# The longest that one SQL statement may take, in seconds; 0 is no limit. The first is for pages and API requests, the
# second for downloads, which are one statement and wait for their reader, and for repricing. Other processes have none.
CONSOLE_STATEMENT_TIMEOUT_SECONDS = env.integer("CONSOLE_STATEMENT_TIMEOUT_SECONDS", 30, least=0, most=86_400)
EXPORT_STATEMENT_TIMEOUT_SECONDS = env.integer("EXPORT_STATEMENT_TIMEOUT_SECONDS", 3600, least=0, most=86_400)

DATABASE_URL = env.text("DATABASE_URL") or _embedded("postgres.url", "postgresql://127.0.0.1/postgres")
DATABASES = {"default": _database(DATABASE_URL)}

REDIS_URL = env.text("REDIS_URL") or _embedded("redis.url", "redis://127.0.0.1:6379/0")
if cluster_address(REDIS_URL) is not None:
    _missing = [name for name in ("CELERY_BROKER_URL", "CACHE_URL") if not env.text(name)]
    if _missing:
        raise ImproperlyConfigured(
            f"REDIS_URL is a cluster, which Celery and the cache cannot use: set {' and '.join(_missing)} too, "
            "e.g. CELERY_BROKER_URL=amqp://… or redis://…, CACHE_URL=redis://… (a single server)."
        )
METER_SHARDS = env.integer("METER_SHARDS", 4, least=1, most=16384)
CACHE_URL = env.text("CACHE_URL", REDIS_URL)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": "cache",
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 1, "SOCKET_TIMEOUT": 1},
    }
}

# --- Celery ---
CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", REDIS_URL.replace("unix://", "redis+socket://", 1))
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "gateway_project.beat:PresentScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5  # seconds: how often it beats its presence at least
# How often periods are closed: how soon after its end, plus 15 minutes for open calls, a period has its statement.
CLOSE_PERIODS_EVERY = env.integer("CLOSE_PERIODS_EVERY", 600, least=1, most=86_400)  # seconds


def _task(name: str, *, every: int, expires: int | None = None) -> dict[str, object]:
    """An entry of beat's schedule. A run that has waited for `expires` seconds is skipped.

    If beat has no file of earlier runs (a first start, a new container), every task is due at once. Otherwise a task of
    every six hours would never run where processes are replaced more often.
    """
    never = datetime(2000, 1, 1, tzinfo=UTC)
    options = {"expires": expires} if expires else {}
    return {"task": f"billing.tasks.{name}", "schedule": every, "options": options, "last_run_at": never}


CELERY_BEAT_SCHEDULE = {
    "hold the books together": _task("hold_the_books_together", every=300),
    "close periods": _task("close_periods", every=CLOSE_PERIODS_EVERY, expires=CLOSE_PERIODS_EVERY),
    "end grants": _task("end_budget_grants", every=30, expires=30),
    "announce": _task("announce", every=5, expires=5),
    "check upstream's bill": _task("check_upstream_bill", every=6 * 3600, expires=3600),
    "watch limits": _task("watch_limits", every=60, expires=60),
    "watch usage": _task("watch_usage", every=600, expires=600),
    "keep partitions ahead": _task("keep_partitions_ahead", every=3600),
}

# --- The upstream ---
EZAI_BASE_URL = env.web_address("EZAI_BASE_URL", "https://api.ezaiapi.com").rstrip("/")
EZAI_API_KEY = env.text("EZAI_API_KEY")
if (
    HTTPS
    and not EZAI_BASE_URL.startswith("https://")
    and env.is_public(urlsplit(EZAI_BASE_URL).hostname or "")
):
    raise ImproperlyConfigured("EZAI_BASE_URL must be an https URL: your API key is sent with every call.")
SANDBOX = env.flag("SANDBOX")  # set by `make up` when the sandbox replaces the upstream
# In seconds: to connect; without a byte of a JSON answer; between two pieces of a stream; until the last byte.
UPSTREAM_CONNECT_TIMEOUT = env.integer("UPSTREAM_CONNECT_TIMEOUT", 5, least=1, most=86_400)
UPSTREAM_READ_TIMEOUT = env.integer("UPSTREAM_READ_TIMEOUT", 600, least=1, most=86_400)
UPSTREAM_IDLE_TIMEOUT = env.integer("UPSTREAM_IDLE_TIMEOUT", 120, least=1, most=86_400)
UPSTREAM_TOTAL_TIMEOUT = env.integer("UPSTREAM_TOTAL_TIMEOUT", 1800, least=1, most=86_400)
# Header -> template of {tenant} and {request_id}, both opaque: `x-customer={tenant},x-call={request_id}`.
UPSTREAM_TRACKING_HEADERS = {
    name.lower(): value.lower() for name, value in env.pairs("UPSTREAM_TRACKING_HEADERS")
}
# Further headers of the caller that are sent to the upstream. One of them tells the sandbox what to answer.
UPSTREAM_EXTRA_HEADERS = (*env.words("UPSTREAM_EXTRA_HEADERS"), *(("x-sandbox",) if SANDBOX else ()))
# The upstream's bill: a report by HTTP, with {since} and {until} in its URL, as JSON (with the list of rows at
# UPSTREAM_BILL_ROWS, names joined by dots) or CSV. UPSTREAM_BILL_FIELDS: `day=usage_day,cost_usd=total`.
UPSTREAM_BILL_URL = env.web_address("UPSTREAM_BILL_URL", "")
UPSTREAM_BILL_AUTHORIZATION = env.text(
    "UPSTREAM_BILL_AUTHORIZATION", f"Bearer {EZAI_API_KEY}" if EZAI_API_KEY else ""
)
UPSTREAM_BILL_ROWS = env.text("UPSTREAM_BILL_ROWS", "data")
UPSTREAM_BILL_FIELDS = dict(env.pairs("UPSTREAM_BILL_FIELDS"))
# A day and model agrees with the ledger if it differs by no more than the larger of these two.
BILL_TOLERANCE_USD = env.number("BILL_TOLERANCE_USD", "0.10")
BILL_TOLERANCE_PERCENT = env.number("BILL_TOLERANCE_PERCENT", "1")
BODY_LIMIT_BYTES = env.integer("BODY_LIMIT_BYTES", 32 * 1024 * 1024, least=1024, most=1_000_000_000_000)
BODY_TIMEOUT = env.integer("BODY_TIMEOUT", 60, least=1, most=86_400)
# How long a conversation stays with its model although a cheaper one is due: no prompt cache lives longer.
CONVERSATION_SECONDS = env.integer("CONVERSATION_SECONDS", 3600, least=0, most=31_536_000)

# --- Logs and metrics ---
# The share of data-plane requests that get a line (0 to 1). Lines are JSON whatever LOG_FORMAT is.
ACCESS_LOG = float(env.number("ACCESS_LOG", "0", most=1))
METRICS_TOKEN = env.text("METRICS_TOKEN")
# Shared by the processes of one machine. prometheus_client needs it before anything is counted.
if _metrics_folder := env.text("PROMETHEUS_MULTIPROC_DIR"):
    Path(_metrics_folder).mkdir(parents=True, exist_ok=True)
if SENTRY_DSN := env.text("SENTRY_DSN"):
    report_to(SENTRY_DSN)
if env.text("OTEL_EXPORTER_OTLP_ENDPOINT"):
    require("otel", because="OTEL_EXPORTER_OTLP_ENDPOINT")
LOGGING_CONFIG = "gateway_project.ground.logs.configure"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {
            "()": "gateway_project.ground.logs.TextFormatter",
            "format": "%(levelname)s %(name)s: %(message)s",
        },
        "json": {"()": "gateway_project.ground.logs.JsonFormatter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": env.choice("LOG_FORMAT", "text", "json"),
        },
    },
    "root": {
        "handlers": ["stderr"],
        "level": env.choice("LOG_LEVEL", "WARNING", "DEBUG", "INFO", "ERROR", "CRITICAL"),
    },
    # Django's own handlers write text past the formatters.
    "loggers": {name: {"handlers": [], "propagate": True} for name in ("django", "django.server")},
}

# --- Webhooks and mail ---
WEBHOOK_ALLOW_HOSTS = env.words("WEBHOOK_ALLOW_HOSTS")
# They encrypt webhooks' secrets, upstreams' keys, second factors and sessions. The newest comes first; see
# `gateway_project/ground/secrets.py`.
SECRETS_KEYS = env.words("SECRETS_KEYS") or [SECRET_KEY]
if not DEBUG and any(len(key) < 32 for key in SECRETS_KEYS):
    raise ImproperlyConfigured("Each key in SECRETS_KEYS must be 32 random characters or more.")

OPERATOR_NAME = env.text("OPERATOR_NAME", "Tenantry")  # at the head of statements
STATEMENT_FONT = env.text("STATEMENT_FONT")  # for names in scripts that the console's font does not have
if STATEMENT_FONT and not Path(STATEMENT_FONT).is_file():
    raise ImproperlyConfigured(f"STATEMENT_FONT is not a font file: {STATEMENT_FONT}")
# They get emails about what concerns the operator. Tenants have alert addresses of their own.
OPERATOR_EMAILS = env.words("OPERATOR_EMAILS")
EMAIL_HOST = env.text("EMAIL_HOST")  # empty: no email is sent, and pages say so
EMAIL_PORT = env.integer("EMAIL_PORT", 25, least=1, most=65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "tenantry@localhost")

# --- Accounts and the console ---
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesBackend",  # first: it refuses people who are locked out
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_CLIENT_IP_CALLABLE = "gateway_project.accounts.address_of"
# Masked in the log of failed logins. `next` may hold an invitation's link, and `code` is a second factor's.
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code", "next", "csrfmiddlewaretoken"]
AXES_LOCKOUT_CALLABLE = "gateway_project.accounts.locked_out"
OTP_TOTP_ISSUER = "Tenantry"
LOGIN_URL = "/admin/login/"
X_FRAME_OPTIONS = "DENY"
AUDITLOG_INCLUDE_TRACKING_MODELS = AUDITED_MODELS

# --- The control API ---
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["gateway_project.api.access.OperatorAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["gateway_project.api.access.IsOperator"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "gateway_project.api.errors.exception_handler",
    "URL_FORMAT_OVERRIDE": None,  # our own `format` parameter names the type of a file
    "UNAUTHENTICATED_USER": None,
}
API_DOCS_PUBLIC = env.flag("API_DOCS_PUBLIC")  # else /api/schema/ and /api/docs/ are for staff
SPECTACULAR_SETTINGS = {
    "TITLE": "Tenantry control API",
    "DESCRIPTION": "Tenants, keys, models, prices, usage and webhooks of a Tenantry installation.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "gateway_project.api.schema.with_errors",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- Language, time, files ---
LANGUAGE_CODE = "en"
LOCALE_PATHS = [BASE_DIR / "gateway_project" / "locale"]
FORMAT_MODULE_PATH = ["gateway_project.formats"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
# Serve what collectstatic put into STATIC_ROOT; if it did not run, files from the apps' own folders.
WHITENOISE_USE_FINDERS = env.flag("STATIC_FROM_APPS", default=DEBUG or not STATIC_ROOT.is_dir())
STATICFILES_DIRS = [BASE_DIR / "gateway_project" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

"""An account's authenticator app."""

import time
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django_otp.models import Device, ThrottlingMixin, TimestampMixin
from django_otp.oath import TOTP

from gateway_project.ground.secrets import MARK, decrypt

STEP_SECONDS = 30
DIGITS = 6


class SecondFactor(TimestampMixin, ThrottlingMixin, Device):  # type: ignore[misc]  # django_otp has no types
    """One seed for one-time codes (TOTP, RFC 6238), encrypted like every secret at rest.

    django-otp's own device stores its seed in plain text, in a column too short for an encrypted one. We use its
    throttling, its locking while a code is checked, and its arithmetic of TOTP.
    """

    secret = models.TextField(editable=False)
    drift = models.SmallIntegerField(default=0, editable=False)
    last_t = models.BigIntegerField(
        default=-1, editable=False, help_text="The time step of the last code. No code is accepted twice."
    )

    class Meta(Device.Meta):  # type: ignore[misc]
        verbose_name = "second factor"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["user"], name="tenants_secondfactor_one_for_each_account"),
            models.CheckConstraint(
                condition=Q(secret__startswith=MARK), name="tenants_secondfactor_secret_is_encrypted"
            ),
        ]

    @property
    def seed(self) -> bytes:
        """The decrypted seed. Raises UnreadableSecret."""
        return bytes.fromhex(decrypt(self.secret))

    def confirm(self) -> None:
        """Ask for its codes at every login from now on."""
        self.confirmed = True
        self.save(update_fields=["confirmed"])

    def verify_token(self, token: Any) -> bool:
        """Whether `token` is the current code, or that of half a minute before or after. Raises UnreadableSecret."""
        allowed, _ = self.verify_is_allowed()
        if not allowed:
            return False
        totp = TOTP(self.seed, STEP_SECONDS, 0, DIGITS, self.drift)
        totp.time = time.time()
        code = str(token)
        if (
            len(code) <= DIGITS
            and code.isascii()
            and code.isdigit()
            and totp.verify(int(code), 1, self.last_t + 1)
        ):
            self.last_t, self.drift = totp.t(), totp.drift
            self.throttle_reset(commit=False)
            self.set_last_used_timestamp(commit=False)
            self.save()
            return True
        self.throttle_increment(commit=True)
        return False

    def get_throttle_factor(self) -> float:
        return float(getattr(settings, "OTP_TOTP_THROTTLE_FACTOR", 1))

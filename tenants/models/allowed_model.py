"""The models that each tenant may use."""

from django.db import models

from gateway_project.ground.policy_changes import PolicyModel
from routing.models import Model


class AllowedModel(PolicyModel):
    """One model a tenant may use."""

    tenant = models.ForeignKey("tenants.Tenant", models.CASCADE, related_name="allowances")
    model = models.ForeignKey(Model, models.CASCADE, related_name="allowances")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant", "model"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "model"], name="tenants_allowedmodel_unique")
        ]

    def __str__(self) -> str:
        return f"{self.tenant} may use {self.model}"

    def concerns(self) -> set[int] | None:
        return {self.tenant_id}

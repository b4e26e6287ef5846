"""The admin: where operators see what happens, and steer it."""

from videos.admin.budgets import BudgetAdmin
from videos.admin.glossaries import GlossaryAdmin
from videos.admin.integrations import ApiKeyAdmin, WebhookAdmin, WebhookDeliveryAdmin
from videos.admin.pausing import PauseAdmin
from videos.admin.runs import RunAdmin
from videos.admin.videos import VideoAdmin
from videos.admin.work import (
    BreakerAdmin,
    CallAdmin,
    EventAdmin,
    ProbedModelAdmin,
    SetAsideAdmin,
    StorageDeletionAdmin,
)
from videos.admin.workers import WorkerAdmin

__all__ = [
    "ApiKeyAdmin",
    "BreakerAdmin",
    "BudgetAdmin",
    "CallAdmin",
    "EventAdmin",
    "GlossaryAdmin",
    "PauseAdmin",
    "ProbedModelAdmin",
    "RunAdmin",
    "SetAsideAdmin",
    "StorageDeletionAdmin",
    "VideoAdmin",
    "WebhookAdmin",
    "WebhookDeliveryAdmin",
    "WorkerAdmin",
]

"""The admin: where operators see what happens, and steer it."""

from videos.admin.videos import VideoAdmin
from videos.admin.work import BreakerAdmin, CallAdmin, EventAdmin, RunAdmin, WorkerAdmin

__all__ = ["BreakerAdmin", "CallAdmin", "EventAdmin", "RunAdmin", "VideoAdmin", "WorkerAdmin"]

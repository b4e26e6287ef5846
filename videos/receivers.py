"""What happens when a video is saved or deleted."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver

from videos import events
from videos.durable import admission
from videos.durable.transactions import after_commit
from videos.models import Transcript, Upload, Video
from videos.pipeline import uploads
from videos.pipeline.deletion import delete_later
from videos.pipeline.steering import transcribe_data


@receiver(post_save, sender=Video, dispatch_uid="videos.request_transcription")
def request_transcription(instance: Video, created: bool, raw: bool, **_: Any) -> None:
    """Write the event of a new video in the transaction that creates it.

    Fixtures (`raw`) and later saves do nothing.
    """
    if created and not raw:
        events.send("video/transcribe.requested", transcribe_data(instance))


@receiver(pre_delete, sender=Video, dispatch_uid="videos.lock_video")
def lock_video(instance: Video, **_: Any) -> None:
    """Wait for what its worker is just writing; from here on the worker waits, and writes nothing.

    Its rows are deleted one table after the other: without this, each could wait for the other.
    What it has written since Django looked for rows to delete is deleted as well.
    """
    Video.objects.select_for_update().filter(pk=instance.pk).values_list("pk").first()
    for rows in (instance.runs, instance.revisions, instance.transcripts):
        rows.all().delete()


@receiver(post_delete, sender=Video, dispatch_uid="videos.delete_files")
def delete_files(instance: Video, **_: Any) -> None:
    """Have a video's files deleted once its rows are gone; its worker finds its claim void."""
    folders = (f"{folder}/" for folder in instance.folders)
    named = (
        instance.file.name,
        instance.captions.name,
        instance.thumbnail.name,
        instance.proxy.name,
    )
    delete_later([*(name or "" for name in named), *folders])
    after_commit(admission.admit)


@receiver(post_delete, sender=Transcript, dispatch_uid="videos.delete_audio")
def delete_audio(instance: Transcript, **_: Any) -> None:
    """Have a transcript's stored audio deleted, unless another was made of it."""
    if instance.audio and not Transcript.objects.filter(audio=instance.audio).exists():
        delete_later([instance.audio])


@receiver(post_delete, sender=Upload, dispatch_uid="videos.delete_half_done")
def delete_half_done(instance: Upload, **_: Any) -> None:
    """Have what has arrived of an upload deleted with it, unless it is a video's by now."""
    if instance.completed_at is None:
        uploads.delete_pieces_later(instance)

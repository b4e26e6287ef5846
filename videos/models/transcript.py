"""What is said in a video: transcript, audio parts, segments; and what models are told of it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Now, Upper
from django.utils.translation import gettext_lazy as _
from uuid6 import uuid7

from videos.audio import confidence
from videos.audio.parts import Interval, Part
from videos.audio.stitching import GIVEN, RecognizedSegment, on_video_clock
from videos.durable.fields import StoredCharField, StoredTextField


class Transcript(models.Model):
    """The words of one decoding of one video, and where its audio is kept."""

    CAPTIONS = "captions"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    video = models.ForeignKey("videos.Video", on_delete=models.CASCADE, related_name="transcripts")
    #: sha256 of the source's bytes; with the splitter and a part's bounds it names the part.
    source_hash = models.CharField(max_length=64, db_index=True)
    #: Version and settings of the splitter, as `splitting.Limits.name` writes them.
    splitter = models.CharField(max_length=64)
    #: Storage name of the whole audio (16 kHz mono FLAC); transcripts of one decoding share it.
    audio = models.CharField(max_length=500, blank=True)
    #: Whether the audio is kept for ever, as the video's own file is gone.
    is_audio_kept = models.BooleanField(default=False, db_default=False)
    #: How many audio tracks the media has: of several, the language chooses one.
    track_count = models.PositiveSmallIntegerField(default=1)
    #: The model that was asked, or CAPTIONS where a person wrote them.
    model = models.CharField(max_length=100)
    #: What it can do, as `ai.capabilities.Capability` says; a resumed run asks for the same.
    capability = models.JSONField(default=dict)
    #: What the model was told: {"language", "prompt", "glossary"}.
    asked = models.JSONField(default=dict)
    duration_ms = models.PositiveBigIntegerField(default=0)
    truncated = models.BooleanField(default=False)
    #: What there is to say of how it was made: [{"code", "message", "start", "end"}, …].
    warnings = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    language = models.CharField(max_length=16, blank=True)
    coverage = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    #: Set once every part has been cut from the audio.
    cut_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["completed_at"],
                condition=~Q(audio="") & Q(is_audio_kept=False),
                name="transcript_audio_age",
            )
        ]

    def __str__(self) -> str:
        return f"transcript of {self.video_id}"


class AudioPartQuerySet(models.QuerySet["AudioPart"]):
    """Parts by whether their audio still waits for its text."""

    def unrecognized(self) -> AudioPartQuerySet:
        """Keep the parts that are still to be sent, for the first or the second time."""
        return self.filter(Q(result__isnull=True) | Q(again=True))

    def recognized(self) -> AudioPartQuerySet:
        """Keep the parts whose text is there."""
        return self.filter(result__isnull=False, again=False)


class AudioPart(models.Model):
    """A stretch of audio between two cuts: the checkpoint of transcription."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    transcript = models.ForeignKey(Transcript, on_delete=models.CASCADE, related_name="parts")
    start_ms = models.PositiveBigIntegerField()
    end_ms = models.PositiveBigIntegerField()
    #: Stretches of speech inside the part, [[start_ms, end_ms], …] on the video's clock.
    speech = models.JSONField(default=list)
    #: What the service recognized, {"language", "segments"} on the clock of the upload; null
    #: until then. "voiced": where there is a voice, [[start_ms, end_ms], …] on the video's
    #: clock, if that was looked for; "reviewed": whether `transcribe.review` is done with it.
    result = models.JSONField(null=True)
    #: Whether the result is so doubtful that the part is to be sent a second time.
    again = models.BooleanField(default=False)

    objects = AudioPartQuerySet.as_manager()

    class Meta:
        ordering = ["start_ms"]
        constraints = [
            models.UniqueConstraint(
                fields=["transcript", "start_ms", "end_ms"], name="audio_part_bounds"
            ),
            models.CheckConstraint(
                condition=Q(end_ms__gt=F("start_ms")), name="audio_part_not_empty"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.start_ms}-{self.end_ms} ms"

    @property
    def part(self) -> Part:
        """Its bounds and speech."""
        return Part(self.start_ms, self.end_ms, self.speech)

    @property
    def recognized(self) -> list[RecognizedSegment]:
        """What the service recognized, on the clock of the upload; nothing until then."""
        return [RecognizedSegment(**segment) for segment in (self.result or {}).get("segments", ())]

    @property
    def voiced(self) -> list[Interval]:
        """Where there may be a voice: all of it, unless that was looked for."""
        whole: list[Interval] = [(self.start_ms, self.end_ms)]
        found: list[Interval] = (self.result or {}).get("voiced", whole)
        return found

    @property
    def spoken(self) -> list[Interval]:
        """Its speech, without what turned out to have no voice."""
        return confidence.common(self.speech, self.voiced)

    @property
    def coverage(self) -> float:
        """Which share of what is spoken was recognized, 0 to 1."""
        return confidence.coverage(self.spoken, on_video_clock(self.part, self.recognized))


class Segment(models.Model):
    """A timed piece of the transcript, as the service recognized it."""

    # `segment_index` begins with it.
    transcript = models.ForeignKey(
        Transcript, on_delete=models.CASCADE, related_name="segments", db_index=False
    )
    index = models.PositiveIntegerField()
    #: Seconds on the video's clock.
    start = models.FloatField()
    end = models.FloatField()
    text = StoredTextField()
    speaker = StoredCharField(max_length=100, blank=True)
    #: Why the text should not be trusted without a look (`audio.confidence`); empty: no reason.
    doubt = models.CharField(max_length=16, blank=True)
    #: How its times came (`stitching`): "given", "aligned" or "cut".
    timing = models.CharField(max_length=8, default=GIVEN, db_default=GIVEN)
    #: [[start, end, word], …] in seconds, where they are known.
    words = models.JSONField(default=list, blank=True)
    #: What was recognized, where a person has changed it; null: nobody has.
    machine_text = models.TextField(null=True, blank=True)  # noqa: DJ001
    #: Grows with every change by a person: who changes an older one is told so.
    version = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["transcript", "index"], name="segment_index"),
            models.CheckConstraint(condition=Q(end__gte=F("start")), name="segment_forward"),
        ]
        indexes = [
            # A search for what somebody says.
            models.Index(
                Upper("speaker"), "transcript", condition=~Q(speaker=""), name="segment_speaker"
            ),
        ]

    def __str__(self) -> str:
        return self.text

    @property
    def suspicious(self) -> bool:
        """Whether there is a reason to doubt the text."""
        return bool(self.doubt)


class Correction(models.Model):
    """A change that a person made to a transcript: what was there, what is there now."""

    class Kind(models.TextChoices):
        """What was done."""

        TEXT = "text", _("Text")
        SPLIT = "split", _("Split")
        JOIN = "join", _("Join")
        SPEAKER = "speaker", _("Speaker")
        REPLACE = "replace", _("Replace")
        RESTORE = "restore", _("Restore")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # `correction_newest` begins with it.
    video = models.ForeignKey(
        "videos.Video", on_delete=models.CASCADE, related_name="corrections", db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    #: Their name at the time.
    user_name = StoredCharField(max_length=150, blank=True)
    kind = models.CharField(max_length=8, choices=Kind)
    #: The same for all that one replacement changed; null: it stands for itself.
    batch = models.UUIDField(null=True, blank=True, db_index=True)
    #: Seconds on the video's clock.
    start = models.FloatField()
    end = models.FloatField()
    #: The lines (`text.correcting.Line` as JSON) before and after.
    before = models.JSONField(default=list)
    after = models.JSONField(default=list)
    #: When somebody took it back.
    restored_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["video", "-created_at", "-id"], name="correction_newest")]

    def __str__(self) -> str:
        return f"{self.kind} at {self.start:.1f} s"


class UnfitCorrection(models.Model):
    """A line that a person had changed, for which a newer transcript has no place."""

    video = models.ForeignKey(
        "videos.Video", on_delete=models.CASCADE, related_name="unfit_corrections"
    )
    start = models.FloatField()
    end = models.FloatField()
    text = StoredTextField()
    speaker = StoredCharField(max_length=100, blank=True)
    machine_text = StoredTextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["start"]

    def __str__(self) -> str:
        return self.text


class Glossary(models.Model):
    """What a creator's recordings are about: passed to models that take it."""

    creator = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="glossary"
    )
    prompt = models.TextField(
        blank=True,
        max_length=1_000,
        help_text="A sentence or two in the style of the recordings, in their language.",
    )
    terms = models.TextField(
        blank=True,
        max_length=10_000,
        help_text="Names and words as they are to be spelled, one a line, the rarest first.",
    )

    class Meta:
        verbose_name_plural = "glossaries"

    def __str__(self) -> str:
        return f"glossary of {self.creator}"

    @property
    def term_list(self) -> list[str]:
        """The terms, without empty lines."""
        return [term for line in self.terms.splitlines() if (term := line.strip())]


class ProbedModel(models.Model):
    """What was found out of a model that no table lists: by its first call, or by a refusal."""

    #: The server, or "" for OpenAI's own.
    base_url = models.CharField(max_length=500, blank=True)
    model = models.CharField(max_length=100)
    #: An `ai.capabilities.Capability` as JSON; of an embedding model, {"max_inputs"}.
    capability = models.JSONField()
    probed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["base_url", "model"], name="one_probe_per_model")
        ]

    def __str__(self) -> str:
        return f"{self.model} at {self.base_url or 'OpenAI'}"

"""What searches look through: the chunks of a revision, and their vectors."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.utils import names_digest
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from pgvector.django import HalfVectorField
from uuid6 import uuid7

from videos.durable.fields import StoredTextField
from videos.models.transcript import Transcript

#: Of a longer vector of a passage, so many numbers are kept, if the model was trained for that:
#: of text-embedding-3-small, 512 of 1,536 score 61.6 on MTEB in place of 62.3 (OpenAI, "New
#: embedding models and API updates", 2024), at a third of the room.
_PASSAGE_DIMENSIONS = 512
_MATRYOSHKA = ("text-embedding-3-",)


def passage_dimensions(model: str, dimensions: int) -> int:
    """Return how many numbers of a model's vectors passages are compared by."""
    return min(dimensions, _PASSAGE_DIMENSIONS) if model.startswith(_MATRYOSHKA) else dimensions


class Revision(models.Model):
    """What one run made of a video; the video points to the one in force."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    video = models.ForeignKey("videos.Video", on_delete=models.CASCADE, related_name="revisions")
    transcript = models.ForeignKey(
        Transcript, null=True, on_delete=models.SET_NULL, related_name="revisions"
    )
    chunked_at = models.DateTimeField(null=True, blank=True)
    #: Whether its chunks have their passages; those of before there were any get them later.
    has_passages = models.BooleanField(default=False, db_default=False)
    #: Changes by people that the chunks were made with; of those made later, it has none.
    corrections = models.PositiveIntegerField(default=0, db_default=0)
    #: The model in which all of its chunks had vectors when it was finished; empty: none yet.
    embedding_model = models.CharField(max_length=100, blank=True, default="", db_default="")
    embedding_dimensions = models.PositiveIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            models.Index(
                fields=["id"], condition=Q(has_passages=False), name="revision_without_passages"
            )
        ]

    def __str__(self) -> str:
        return f"revision of {self.video_id}"


class Chunk(models.Model):
    """500 to 1000 words of a transcript: what is embedded and found."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # `chunk_index` begins with it.
    revision = models.ForeignKey(
        Revision, on_delete=models.CASCADE, related_name="chunks", db_index=False
    )
    index = models.PositiveIntegerField()
    start = models.FloatField()
    end = models.FloatField()
    first_segment = models.PositiveIntegerField()
    last_segment = models.PositiveIntegerField()
    text = StoredTextField()
    word_count = models.PositiveIntegerField()
    token_count = models.PositiveIntegerField(help_text="An estimate, on the high side.")
    #: sha256 of the text.
    content_hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["revision", "index"], name="chunk_index"),
            models.CheckConstraint(condition=Q(end__gte=F("start")), name="chunk_forward"),
        ]

    def __str__(self) -> str:
        return f"chunk {self.index}"


class Passage(models.Model):
    """About 25 words of a chunk: what is ranked by words, and named by hits."""

    # `passage_place` begins with it.
    chunk = models.ForeignKey(
        Chunk, on_delete=models.CASCADE, related_name="passages", db_index=False
    )
    #: The chunk's, repeated: a search within few videos reads theirs alone.
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="passages")
    first_segment = models.PositiveIntegerField()
    last_segment = models.PositiveIntegerField()
    #: Seconds on the video's clock.
    start = models.FloatField()
    end = models.FloatField()
    #: The text search configuration of the stems in `lexemes`.
    text_config = models.CharField(max_length=32)
    #: Stems, and after `BARE` each word without its accents; no positions.
    lexemes = SearchVectorField()

    #: What stands before a word that is no stem.
    BARE = "="

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["chunk", "first_segment"], name="passage_place")
        ]
        indexes = [
            GinIndex(fields=["lexemes"], name="passage_lexemes"),
            # A search asks which configurations there are, and must not read every row for it.
            models.Index(fields=["text_config"], name="passage_text_config"),
        ]

    def __str__(self) -> str:
        return f"passage at {self.start:.0f} s"


class Lexeme(models.Model):
    """In how many passages of a configuration a lexeme stands: how much it tells.

    The empty lexeme counts them all. Triggers on passages write `LexemeChange`, whichever way
    passages come and go; a chore of the sweep adds them up here.
    """

    text_config = models.CharField(max_length=32)
    lexeme = models.TextField()
    passages = models.BigIntegerField()
    #: Of words, which may be what a misspelled one was meant to be (`text.terms.trigrams`).
    trigrams = ArrayField(models.TextField(), null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lexeme", "text_config"], name="lexeme_once")
        ]
        indexes = [GinIndex(fields=["trigrams"], name="lexeme_trigrams")]

    def __str__(self) -> str:
        return self.lexeme


class LexemeChange(models.Model):
    """That passages with a lexeme have come, or gone, and `Lexeme` does not know yet."""

    text_config = models.CharField(max_length=32)
    lexeme = models.TextField()
    change = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["lexeme"], name="lexeme_change"),
            models.Index(fields=["created_at"], name="lexeme_change_age"),
        ]

    def __str__(self) -> str:
        return f"{self.change:+} {self.lexeme}"


class Embedding(models.Model):
    """A vector of a chunk, or of the passage of it that begins at `segment_index`."""

    # `embedding_of_target` begins with it.
    chunk = models.ForeignKey(
        Chunk, on_delete=models.CASCADE, related_name="embeddings", db_index=False
    )
    #: Null: the whole chunk. Else the first segment of a passage of about 25 words.
    segment_index = models.PositiveIntegerField(null=True)
    model = models.CharField(max_length=100)
    dimensions = models.PositiveIntegerField()
    vector = HalfVectorField()
    #: sha256 of the text; the same text of the same creator is embedded once.
    text_hash = models.CharField(max_length=64, default="")

    class Meta:
        indexes = [models.Index(fields=["text_hash"], name="embedding_text")]
        constraints = [
            models.UniqueConstraint(
                fields=["chunk", "segment_index", "model", "dimensions"],
                name="embedding_of_target",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.dimensions} dimensions"


class ServingModel(models.Model):
    """The one embedding model that searches compare with: a table of one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    model = models.CharField(max_length=100)
    dimensions = models.PositiveIntegerField()
    since = models.DateTimeField(default=timezone.now)
    #: The one that served before, whose vectors are kept for a while; empty: none any more.
    former_model = models.CharField(max_length=100, blank=True, default="", db_default="")
    former_dimensions = models.PositiveIntegerField(default=0, db_default=0)
    #: Whether a person went back from the former one: it does not serve again by itself.
    is_rolled_back = models.BooleanField(default=False, db_default=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_serving_model")]

    def __str__(self) -> str:
        return f"{self.model}, {self.dimensions} dimensions"

    @property
    def index_name(self) -> str:
        """The name of the HNSW index of this model's vectors, which `index_embeddings` builds."""
        kind = "bits" if self.is_indexed_by_bits else "hnsw"
        digest = names_digest(self.model, str(self.dimensions), length=12)
        return f"embedding_{kind}_{self.passage_dimensions}_{digest}"

    @property
    def passage_dimensions(self) -> int:
        """How many numbers of its vectors are compared."""
        return passage_dimensions(self.model, self.dimensions)

    @property
    def compared(self) -> str:
        """The numbers of a row of `Embedding` that are compared, as SQL that an index can hold."""
        shown = self.passage_dimensions
        vector = "vector" if shown == self.dimensions else f"subvector(vector, 1, {int(shown)})"
        return f"({vector}::halfvec({int(shown)}))"

    @property
    def is_indexed_by_bits(self) -> bool:
        """Whether the index holds only the signs of numbers; what it finds is compared in full.

        Of fewer numbers than 512 the signs tell too little (docs/figures.md).
        """
        return self.passage_dimensions >= _PASSAGE_DIMENSIONS

    def has_index(self, using: str = DEFAULT_DB_ALIAS) -> bool:
        """Whether the index is there, and complete."""
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid",
                [self.index_name],
            )
            return cursor.fetchone() is not None

"""Corrections: in force at once, embedded again in part, never overwritten, always told apart."""

import itertools
import threading

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.conftest import ended, eventually
from tests.rows import spoken_video
from videos.documents import serving_segments
from videos.models import Call, Chunk, Correction, Embedding, Event, Run, Segment, Video
from videos.pipeline import carry_over, corrections
from videos.pipeline.corrections import Conflict, Replacement, Seen
from videos.search import search
from videos.text.correcting import CannotChange

pytestmark = pytest.mark.django_db(transaction=True)


def seen(segment):
    return Seen(segment.pk, segment.version)


def lines(video):
    video.refresh_from_db()
    return list(serving_segments(video))


def texts(video):
    return [segment.text for segment in lines(video)]


def chunk_text(video):
    return " ".join(video.revision.chunks.order_by("index").values_list("text", flat=True))


def found(query, video):
    return [hit.segment.text for hit in search(query, Video.objects.all(), mode="text", limit=1)]


@pytest.fixture
def video(creator):
    return spoken_video(creator, [f"We speak of hebian rules, part {n}." for n in range(4)])


def long_video(creator, count=300):
    """About six chunks of 500 words and more."""
    said = "Sentence {} has some words that fill it to a dozen words."
    return spoken_video(creator, [said.format(number) for number in range(count)])


def is_consistent(video):
    """Whether indexes run through, and chunks hold what the lines say."""
    rows = lines(video)
    assert [row.index for row in rows] == list(range(len(rows)))
    chunks = list(video.revision.chunks.order_by("index"))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert (chunks[0].first_segment, chunks[-1].last_segment) == (0, len(rows) - 1)
    for before, after in itertools.pairwise(chunks):
        assert after.first_segment in (before.last_segment, before.last_segment + 1)
    assert chunk_text(video).split() == " ".join(row.text for row in rows).split()
    passages = Embedding.objects.filter(chunk__revision=video.revision, segment_index__isnull=False)
    for chunk_id, index in passages.values_list("chunk_id", "segment_index"):
        chunk = next(each for each in chunks if each.pk == chunk_id)
        assert chunk.first_segment <= index <= chunk.last_segment
    return True


def test_a_corrected_line_is_found_and_captioned_at_once(video, creator):
    line = lines(video)[1]

    (changed,) = corrections.rewrite(video, creator, seen(line), "Of Xylophone rules, part 1.")

    assert (changed.text, changed.version, changed.machine_text) == (
        *("Of Xylophone rules, part 1.", 1),
        "We speak of hebian rules, part 1.",
    )
    assert texts(video)[1] == "Of Xylophone rules, part 1."
    assert found("xylophone", video) == ["Of Xylophone rules, part 1."]
    assert is_consistent(video)
    event = Event.objects.get(name="video/transcript.corrected")
    assert event.data["video_id"] == str(video.pk)


def test_who_saw_an_older_line_is_told(video, creator, django_user_model):
    grace = django_user_model.objects.create_user("grace")
    line = lines(video)[0]
    corrections.rewrite(video, grace, seen(line), "By Grace.")

    with pytest.raises(Conflict) as raised:
        corrections.rewrite(video, creator, seen(line), "By Ada.")

    assert raised.value.line.text == "By Grace."
    assert texts(video)[0] == "By Grace."
    gone = Seen(0, 0)
    with pytest.raises(Conflict):
        corrections.split(video, creator, gone, 3)


def test_two_who_save_at_once_do_not_both_win(video, creator):
    line, ends = lines(video)[0], []

    def save(text):
        try:
            corrections.rewrite(Video.objects.get(pk=video.pk), creator, seen(line), text)
            ends.append("saved")
        except Conflict:
            ends.append("told")
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=[f"Text {n}."]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ends) == ["saved", *["told"] * 5]
    assert Correction.objects.count() == 1


def test_lines_are_split_and_joined_and_all_that_refers_to_them_moves(video, creator):
    line = lines(video)[1]

    first, second = corrections.split(video, creator, seen(line), len("We speak of"))

    assert texts(video)[1:3] == ["We speak of", "hebian rules, part 1."]
    assert (first.index, second.index, len(lines(video))) == (1, 2, 5)
    assert is_consistent(video)
    corrections.join(video, creator, seen(first), seen(second))
    assert texts(video)[1] == "We speak of hebian rules, part 1."
    assert is_consistent(video)
    rows = lines(video)
    with pytest.raises(CannotChange):
        corrections.join(video, creator, seen(rows[0]), seen(rows[2]))


@pytest.mark.parametrize("place", [0, 40, 149, 299])
def test_a_long_transcript_keeps_its_other_chunks(creator, place):
    video = long_video(creator)
    before = {chunk.pk: chunk.content_hash for chunk in video.revision.chunks.all()}
    line = lines(video)[place]

    first, second = corrections.split(video, creator, seen(line), 10)
    assert is_consistent(video)
    corrections.join(video, creator, seen(first), seen(second))
    assert is_consistent(video)
    corrections.rewrite(video, creator, seen(lines(video)[place]), "Just this.")

    assert is_consistent(video)
    after = dict(video.revision.chunks.values_list("pk", "content_hash"))
    assert len({*before.items()} - {*after.items()}) == 1
    words = [chunk.word_count for chunk in video.revision.chunks.all()]
    assert all(500 <= count <= 1000 for count in words)


def test_chunks_are_cut_anew_where_a_line_grows_or_shrinks_beyond_them(creator):
    video = long_video(creator)

    for line in lines(video)[10:40]:
        corrections.rewrite(video, creator, seen(line), "Word " * 400)
    assert is_consistent(video)
    for line in lines(video)[10:40]:
        corrections.rewrite(video, creator, seen(line), "Short.")

    assert is_consistent(video)
    words = [chunk.word_count for chunk in video.revision.chunks.all()]
    assert all(500 <= count <= 1000 for count in words)


def test_only_what_changed_is_embedded_again(creator, openai, worker):
    video = long_video(creator)
    Embedding.objects.all().delete()
    video.reprocess("embed")
    ended(video)
    calls = len(openai.embedded())
    sent_before = Call.objects.count()
    changed = lines(video)[100]
    chunk = Chunk.objects.get(
        revision=video.revision, first_segment__lte=100, last_segment__gte=100
    )

    corrections.rewrite(video, creator, seen(changed), "A xylophone is heard in it all the time.")

    def is_embedded():
        row = Embedding.objects.filter(chunk=chunk, segment_index=None).first()
        chunk.refresh_from_db()
        return row is not None and row.text_hash == chunk.content_hash

    eventually(is_embedded)
    assert len(openai.embedded()) == calls + 1
    sent = openai.embedded()[-1].inputs
    # The chunk, and the passages that hold the line now, or stand beside one that does.
    assert len(sent) <= 6
    assert 2 <= sum("xylophone" in text for text in sent) <= 4
    eventually(lambda: not Run.objects.exclude(state="completed").exists())
    booked = Call.objects.order_by("sent_at").last()
    assert (Call.objects.count(), booked.creator, booked.used) == (sent_before + 1, creator, True)
    video.refresh_from_db()
    assert video.status == "completed"


def test_a_burst_of_corrections_is_one_run(video, creator, worker, settings):
    settings.CHRONOS_CREATOR_STARTS_PER_MINUTE = 1
    for number in range(5):
        corrections.rewrite(video, creator, seen(lines(video)[0]), f"Text number {number}.")

    runs = Run.objects.filter(function="refresh_vectors")
    eventually(lambda: not runs.exclude(state="completed").exists())
    assert runs.count() <= 2
    vectors = Embedding.objects.filter(chunk__revision=video.revision, segment_index=None)
    assert vectors.get().text_hash == video.revision.chunks.get().content_hash


def test_a_speaker_is_renamed_everywhere(video, creator):
    Segment.objects.filter(index__in=[0, 2]).update(speaker="A")

    assert corrections.rename_speaker(video, creator, "A", " Ada  Lovelace ") == 2

    assert [line.speaker for line in lines(video)] == ["Ada Lovelace", "", "Ada Lovelace", ""]
    corrections.restore(Correction.objects.first(), creator)
    assert [line.speaker for line in lines(video)] == ["A", "", "A", ""]


def test_words_are_replaced_over_many_videos_where_they_were_chosen(video, creator):
    other = spoken_video(creator, ["HEBIAN learning.", "Not it."])
    wanted = Replacement("hebian", "Hebbian")
    rows = list(corrections.matches(Video.objects.filter(creator=creator), wanted))
    assert len(rows) == 5
    batch = video.pk

    for each in (video, other):
        theirs = [row.pk for row in rows if row.transcript.video_id == each.pk and row.index != 3]
        corrections.replace_all(each, creator, wanted, theirs, batch)

    assert texts(video) == [
        *(f"We speak of Hebbian rules, part {n}." for n in range(3)),
        "We speak of hebian rules, part 3.",
    ]
    assert texts(other)[0] == "Hebbian learning."
    assert found("hebbian", other)
    corrections.restore(Correction.objects.filter(video=video).first(), creator)
    assert "Hebbian" not in "".join(texts(video))
    assert texts(other)[0] == "Hebbian learning."


def test_a_change_is_taken_back_and_that_as_well(video, creator):
    first, _second = corrections.split(video, creator, seen(lines(video)[1]), 8)
    corrections.rewrite(video, creator, seen(first), "You speak")
    text, split = Correction.objects.all()

    with pytest.raises(Conflict):
        corrections.restore(split, creator)
    corrections.restore(text, creator)
    corrections.restore(split, creator)

    assert texts(video)[1] == "We speak of hebian rules, part 1."
    assert lines(video)[1].machine_text is None
    assert is_consistent(video)
    corrections.restore(Correction.objects.first(), creator)
    assert texts(video)[1:3] == ["We speak", "of hebian rules, part 1."]
    assert is_consistent(video)


def test_a_line_that_was_confirmed_is_warned_of_no_more(video, creator):
    line = lines(video)[2]
    Segment.objects.filter(pk=line.pk).update(doubt="unsure")
    warning = {"code": "suspicious_text", "message": "m", "start": line.start, "end": line.end}
    Video.objects.update(warnings=[warning, {**warning, "code": "low_coverage"}])

    corrections.rewrite(video, creator, seen(line), line.text)

    video.refresh_from_db()
    assert [each["code"] for each in video.warnings] == ["low_coverage"]
    assert lines(video)[2].doubt == ""


@pytest.mark.parametrize("stage", ["transcribe", "chunk"])
def test_processing_again_keeps_what_people_have_corrected(upload, creator, worker, stage):
    video = ended(upload())
    line = lines(video)[0]
    corrections.rewrite(video, creator, seen(line), "Corrected by Ada.")

    video.reprocess(stage)

    video = ended(video)
    assert (video.status, video.error) == ("completed", "")
    assert lines(video)[0].text == "Corrected by Ada."
    assert lines(video)[0].machine_text == line.text
    assert "Corrected by Ada." in chunk_text(video)
    assert not video.unfit_corrections.exists()


def test_what_is_corrected_while_a_video_is_processed_again_stays(upload, creator, worker, openai):
    video = ended(upload())
    openai.gate.clear()
    try:
        video.reprocess("transcribe", force=True)
        eventually(lambda: len(openai.transcribed()) > 1)
        corrections.rewrite(video, creator, seen(lines(video)[0]), "Corrected meanwhile.")
    finally:
        openai.gate.set()

    video = ended(video)
    eventually(lambda: not Run.objects.filter(state__in=("waiting", "queued", "running")).exists())
    assert lines(video)[0].text == "Corrected meanwhile."
    chunk = video.revision.chunks.get()
    assert "Corrected meanwhile." in chunk.text
    assert chunk.embeddings.get(segment_index=None).text_hash == chunk.content_hash


def test_another_file_takes_no_corrections_but_lists_them(upload, creator, worker, clip):
    from videos.pipeline import replacing

    video = ended(upload())
    corrections.rewrite(video, creator, seen(lines(video)[0]), "Corrected by Ada.")
    name = video.file.storage.save(
        f"{video.folder}/other.mp4", ContentFile(clip.read_bytes() + b"\0" * 10)
    )

    replacing.replace_file(video.pk, name, "other.mp4", 10)

    video = ended(video)
    assert "Corrected by Ada." not in texts(video)
    assert video.unfit_corrections.get().text == "Corrected by Ada."


@pytest.mark.parametrize("text", ["", "   ", "x" * 5_001])
def test_a_line_that_cannot_be_is_refused(video, creator, text):
    with pytest.raises(CannotChange):
        corrections.rewrite(video, creator, seen(lines(video)[0]), text)
    assert not Correction.objects.exists()


def test_a_video_without_a_transcript_has_nothing_to_correct(upload, creator):
    with pytest.raises(CannotChange):
        corrections.rename_speaker(upload(), creator, "a", "b")


def test_what_postgres_cannot_hold_is_no_reason_to_fail(video, creator):
    (line,) = corrections.rewrite(video, creator, seen(lines(video)[0]), "nul \0 \ud800 end")

    line.refresh_from_db()
    assert line.text.endswith("end")


def test_renamed_speakers_keep_their_names_in_a_new_transcript(video, creator):
    Segment.objects.filter(index__in=[0, 2]).update(speaker="A")
    corrections.rename_speaker(video, creator, "A", "Ada")
    new = spoken_video(creator, ["One.", "Two."]).revision
    Segment.objects.filter(transcript=new.transcript).update(speaker="A")
    new.transcript.source_hash = video.revision.transcript.source_hash

    with transaction.atomic():
        carry_over.carry_over(video, new)

    names = Segment.objects.filter(transcript=new.transcript).values_list("speaker", flat=True)
    assert list(names) == ["Ada", "Ada"]


def test_a_change_is_taken_back_beside_a_line_that_begins_with_it(video, creator):
    first, second = lines(video)[1:3]
    Segment.objects.filter(pk=second.pk).update(start=first.start)
    corrections.rewrite(video, creator, seen(first), "You speak.")

    corrections.restore(Correction.objects.get(), creator)

    assert texts(video)[1] == first.text


def test_what_changes_nothing_is_no_correction(video, creator):
    line = lines(video)[0]

    corrections.give_speaker(video, creator, seen(line), line.speaker)
    corrections.rename_speaker(video, creator, line.speaker, f" {line.speaker} ")

    assert not Correction.objects.exists()
    assert lines(video)[0].version == line.version


def test_a_video_is_locked_before_its_text_as_runs_do_it(video, creator):
    with CaptureQueriesContext(connection) as asked:
        corrections.rewrite(video, creator, seen(lines(video)[0]), "You speak.")

    locks = [
        each["sql"] for each in asked if "FOR NO KEY" in each["sql"] or "advisory" in each["sql"]
    ]
    assert ["videos_video" in locks[0], "advisory" in locks[1]] == [True, True]


def test_what_is_looked_for_may_have_two_spaces(video):
    wanted = corrections.Replacement("hebian  rules", "Hebbian rules")

    (first, *_) = corrections.matches(Video.objects.all(), wanted)

    assert wanted.of(first.text) == "We speak of Hebbian rules, part 0."

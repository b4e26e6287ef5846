"""What models are asked, what they answer, and what is recognized twice."""

import pytest
import soundfile
from django.db import DataError, connection

from tests.conftest import ended, eventually
from tests.media import make_audio, make_video, run_ffmpeg
from tests.openai_server import Fault, hear_numbers
from videos.audio import splitting
from videos.durable import steps
from videos.exceptions import HandedOver
from videos.models import AudioPart, Call, Glossary, ProbedModel, Run, Segment, Step
from videos.pipeline.transcribe.cutting import cut_media
from videos.pipeline.transcribe.media_file import MediaFile
from videos.pipeline.transcribe.stage import _Transcription

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_creators_prompt_and_glossary_reach_the_model(upload, worker, openai, creator, settings):
    Glossary.objects.create(creator=creator, prompt="A course.", terms="pgvector\n\nDramatiq\n")
    ended(upload(language="en"))
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-transcribe"
    ended(upload(language="en"))

    whisper, successor = openai.transcribed()

    assert whisper.fields["prompt"] == "A course. pgvector, Dramatiq"
    assert whisper.fields["language"] == "en"
    assert successor.lists["keywords[]"] == ["pgvector", "Dramatiq"]
    assert successor.fields["prompt"] == "A course."


def test_another_glossary_is_another_transcript(upload, worker, openai, creator):
    ended(upload())
    Glossary.objects.create(creator=creator, terms="pgvector")

    ended(upload())

    assert len(openai.transcribed()) == 2


def test_a_diarizing_model_names_the_speakers(upload, worker, openai, settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "gpt-4o-transcribe-diarize"

    video = ended(upload())

    segments = Segment.objects.filter(transcript__video=video).order_by("index")
    assert [segment.speaker for segment in segments] == ["A", "B"]
    (call,) = openai.transcribed()
    assert call.fields["chunking_strategy"] == "auto"
    assert "prompt" not in call.fields


@pytest.mark.parametrize(
    ("model", "asked", "words", "times"),
    [
        ("with-words", 1, True, True),
        ("without-words", 1, False, True),
        ("text-only", 3, False, False),  # refuses two formats with times
    ],
)
def test_an_unknown_model_is_probed_once(
    upload, worker, openai, settings, model, asked, words, times
):
    settings.CHRONOS_TRANSCRIPTION_MODEL = model

    first = ended(upload())
    probes = len(openai.transcribed()) - 1
    second = ended(upload(language="en"))

    assert (first.status, second.status) == ("completed", "completed"), first.error
    assert probes == asked
    assert len(openai.transcribed()) == asked + 2
    assert ProbedModel.objects.get().model == model
    segments = list(Segment.objects.filter(transcript__video=second).order_by("index"))
    assert all(bool(segment.words) == (words or not times) for segment in segments)
    assert {segment.timing for segment in segments} == {"given" if times else "cut"}
    assert Call.objects.filter(state="sent").count() == 0
    assert Call.objects.filter(service="transcription", state="answered").count() == 3
    assert Step.objects.get(key=f"probe {model}").state == "done"


def test_an_unknown_model_is_probed_with_the_first_speech_wherever_it_is(
    upload, worker, openai, settings, tmp_path
):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "text-only"
    late = tmp_path / "late.flac"
    run_ffmpeg("-i", make_audio(tmp_path / "talk.flac", 8), "-af", "adelay=130s:all=1", late)

    assert ended(upload(late)).status == "completed"
    assert ProbedModel.objects.get().capability["response_format"] == "json"


def test_a_new_unknown_model_is_probed_with_the_stored_audio(upload, worker, openai, settings):
    video = ended(upload())
    video.file.storage.delete(video.file.name)
    settings.CHRONOS_TRANSCRIPTION_MODEL = "text-only"

    video.reprocess(from_stage="transcribe")

    assert ended(video).status == "completed", video.error
    assert ProbedModel.objects.get().model == "text-only"


def answer(*segments):
    listed = [
        {
            "start": start,
            "end": end,
            "text": text,
            "no_speech_prob": doubt,
            "avg_logprob": -2 * doubt,
        }
        for start, end, text, doubt in segments
    ]
    return {"text": " ".join(entry["text"] for entry in listed), "segments": listed}


def test_what_was_hardly_understood_is_transcribed_once_more(upload, worker, openai, creator):
    Glossary.objects.create(creator=creator, prompt="A course.")
    openai.faults = [Fault(status=200, body=answer((0, 1, "Hm.", 0)), path="transcriptions")]

    video = ended(upload())

    first, second = openai.transcribed()
    assert (video.status, video.coverage, video.warnings) == ("completed", 1, [])
    assert "temperature" not in first.fields
    assert float(second.fields["temperature"]) > 0
    assert "prompt" not in second.fields
    assert second.audio == first.audio
    assert Step.objects.filter(stage="transcribe", key__endswith="again").get().state == "done"
    assert Call.objects.filter(service="transcription", used=True).count() == 2
    assert not AudioPart.objects.filter(again=True).exists()


def test_the_better_of_two_passes_stays_and_a_warning_tells(upload, worker, openai):
    better, worse = answer((0, 1, "Hm.", 0)), answer((0, 8, "La la la.", 0.9))
    openai.faults = [
        Fault(status=200, body=better, path="transcriptions"),
        Fault(status=200, body=worse, path="transcriptions"),
    ]

    video = ended(upload())

    assert video.status == "completed"
    assert video.coverage < 0.5
    assert [warning["code"] for warning in video.warnings] == ["low_coverage"]
    assert Segment.objects.get(transcript__video=video).text == "Hm."
    calls = Call.objects.filter(service="transcription")
    assert sorted(calls.values_list("state", "used")) == [("answered", False), ("answered", True)]


def test_a_part_that_nobody_understood_is_told_with_its_seconds(
    upload, worker, openai, tmp_path, settings
):
    settings.CHRONOS_PARTS_IN_FLIGHT = 3
    openai.hear = lambda seconds: []
    nothing = answer()
    rest = answer((0, 60, "Well understood.", 0))
    openai.faults = [Fault(status=200, body=body, path="transcriptions") for body in (rest, rest)]
    openai.faults += [Fault(status=200, body=nothing, path="transcriptions", times=2)]

    video = ended(upload(make_audio(tmp_path / "long.flac", 240)), timeout_s=60)

    assert video.coverage > 0.5
    (told,) = video.warnings
    assert (told["code"], told["end"] - told["start"] > 50) == ("low_coverage", True)


def test_a_second_pass_that_fails_costs_nothing_but_itself(upload, worker, openai):
    openai.faults = [
        Fault(status=200, body=answer((0, 1, "Hm.", 0)), path="transcriptions"),
        Fault(status=400, path="transcriptions"),
    ]

    video = ended(upload())

    assert video.status == "completed"
    assert Step.objects.get(key__endswith="again").state == "failed"


def test_doubtful_text_is_kept_and_flagged(upload, worker, openai):
    invented = answer((0, 6, "All well.", 0), (6, 8, "Thank you for watching!", 0.9))
    openai.faults = [Fault(status=200, body=invented, path="transcriptions")]

    video = ended(upload())

    (warning,) = video.warnings
    assert (warning["code"], warning["start"], warning["end"]) == ("suspicious_text", 6.0, 8.0)
    flagged = Segment.objects.filter(transcript__video=video).order_by("index")
    assert [segment.suspicious for segment in flagged] == [False, True]


def two_languages(path, tmp_path):
    """English first, 8 s; German second and default, 14 s."""
    english, german = make_audio(tmp_path / "en.wav", 8), make_audio(tmp_path / "de.wav", 14)
    run_ffmpeg(
        *("-i", english, "-i", german, "-map", "0", "-map", "1"),
        *("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger"),
        *("-disposition:a:0", "0", "-disposition:a:1", "default", path),
    )
    return path


@pytest.mark.parametrize(
    ("language", "seconds"),
    [
        ("en", 8),  # the one in the asked language
        ("", 14),  # else the default
        ("fr", 14),
    ],
)
def test_of_several_tracks_the_one_in_the_language_is_transcribed(
    upload, worker, openai, tmp_path, language, seconds
):
    video = ended(upload(two_languages(tmp_path / "two.mkv", tmp_path), language=language))

    assert video.duration_s == pytest.approx(seconds, abs=0.1)
    assert video.status == "completed"


@pytest.mark.parametrize("model", ["with-words", "whisper-1"])  # asked by a probe; by a part
def test_an_answer_after_the_cancellation_is_paid_and_unused(
    upload, worker, openai, settings, model
):
    settings.CHRONOS_TRANSCRIPTION_MODEL = model

    def cancelled_meanwhile(seconds):
        Run.objects.update(cancel_requested=True)
        connection.close()
        return hear_numbers(seconds)

    openai.hear = cancelled_meanwhile

    assert ended(upload()).status == "cancelled"
    eventually(lambda: not Call.objects.filter(state="sent").exists())
    call = Call.objects.get()
    assert (call.state, call.used, call.audio_seconds > 0) == ("answered", False, True)


def test_what_the_probe_found_is_known_to_a_resumed_run(upload, worker, openai, settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "text-only"
    openai.faults = [
        Fault(200, {"text": ""}, path="transcriptions"),  # music: the model tells nothing
        Fault(401, path="transcriptions"),
    ]
    video = ended(upload())
    assert video.error_code == "unauthorized"

    video.reprocess()

    assert ended(video).status == "completed", video.error
    formats = [call.fields["response_format"] for call in openai.transcribed()]
    assert formats == ["verbose_json", "verbose_json", "json", "json", "json"]


def test_another_model_is_probed_itself(upload, worker, openai, settings):
    settings.CHRONOS_TRANSCRIPTION_MODEL = "with-words"
    settings.CHRONOS_RETRY_BACKOFF_S = 0.5

    def change_model(call):
        if call.path.endswith("transcriptions") and len(openai.transcribed()) == 2:
            settings.CHRONOS_TRANSCRIPTION_MODEL = "text-only"
            return Fault(status=500)
        return None

    openai.take_fault, take_fault = change_model, openai.take_fault
    try:
        video = ended(upload())
    finally:
        openai.take_fault = take_fault

    assert video.status == "completed", video.error
    assert Step.objects.filter(key__in=["probe with-words", "probe text-only"]).count() == 2


def test_an_answer_that_cannot_be_stored_is_booked(upload, worker, openai, monkeypatch):
    finish, tried = steps.finish, []

    def refuse_once(run, step, *result):
        if step.key == "0-8000 ms" and not tried:
            tried.append(step)
            raise DataError("a value of the answer is out of range")
        finish(run, step, *result)

    monkeypatch.setattr(steps, "finish", refuse_once)

    assert ended(upload()).status == "completed"
    calls = Call.objects.filter(service="transcription").values_list("state", "used")
    assert sorted(calls) == [("answered", False), ("answered", True)]


@pytest.mark.parametrize(
    ("interrupted", "recognized"),
    [
        ("_store_audio", 2),  # before the last cut was committed: cut and recognized anew
        ("store_segments", 1),  # all is cut and recognized
    ],
)
def test_a_new_splitter_takes_over_what_an_older_one_has_begun(
    upload, openai, request, monkeypatch, interrupted, recognized
):
    version, go_on = splitting.VERSION, getattr(_Transcription, interrupted)

    def stop_once(self, *arguments):
        if version == splitting.VERSION:
            monkeypatch.setattr(splitting, "VERSION", version + 1)
            raise HandedOver
        go_on(self, *arguments)

    monkeypatch.setattr(_Transcription, interrupted, stop_once)
    video = upload()
    request.getfixturevalue("worker")

    assert ended(video).status == "completed", video.error
    assert len(openai.transcribed()) == recognized
    assert Step.objects.filter(key="0-8000 ms", state="done").count() == 1
    used = Call.objects.filter(service="transcription", used=True)
    assert used.count() == recognized


def test_a_short_file_without_silences_is_encoded_once(tmp_path):
    source = MediaFile.read(make_video(tmp_path / "clip.mp4", 8), "")
    producer = cut_media(source, tmp_path, splitting.Limits(8_000, 8), [])
    producer.start(wake=lambda: None)
    eventually(lambda: not producer._thread.is_alive())
    cut, end = producer.arrived()

    assert cut.path.resolve() == tmp_path / "audio.flac"
    assert soundfile.info(cut.path).duration == pytest.approx(end.duration_ms / 1000, abs=0.01)

"""Bad input costs a clear state: the right code, no retries, the next video processed."""

import pytest

from tests.conftest import ended
from tests.media import make_audio, make_mute, make_silence, make_video, run_ffmpeg
from videos.audio import ffmpeg
from videos.models import Call, Run, Step, Video

pytestmark = pytest.mark.django_db(transaction=True)


def empty(path, clip):
    path.touch()


def renamed_text(path, clip):
    path.write_text("This is no video.\n" * 50)


def without_index(path, clip):
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])


def mute(path, clip):
    make_mute(path)


def playlist(path, clip):
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/etc/passwd\n#EXT-X-ENDLIST\n")


def concat_list(path, clip):
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\n")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (empty, "unreadable_media"),
        (renamed_text, "unreadable_media"),
        (without_index, "unreadable_media"),
        (mute, "no_audio"),
        (playlist, "unreadable_media"),
        (concat_list, "unreadable_media"),
    ],
)
def test_a_bad_file_fails_at_once_and_says_what_to_do(upload, worker, tmp_path, clip, make, code):
    path = tmp_path / "bad.mp4"
    make(path, clip)

    video = ended(upload(path))

    assert (video.status, video.error_code) == ("failed", code)
    assert "pload" in video.error or "xport" in video.error
    assert not Call.objects.exists()
    assert Step.objects.get(key="audio").attempts == 1
    assert ended(upload()).status == "completed"


def test_a_missing_object_is_told(upload, worker, settings):
    video = upload()
    video.file.storage.delete(video.file.name)
    video.reprocess(from_stage="transcribe")

    assert ended(video).error_code == "missing_file"


def test_limits_are_checked_before_any_heavy_work(upload, worker, settings):
    settings.CHRONOS_MAX_UPLOAD_BYTES = 1000
    assert ended(upload()).error_code == "too_large"
    settings.CHRONOS_MAX_UPLOAD_BYTES = 10**9
    settings.CHRONOS_MAX_DURATION_S = 5
    assert ended(upload()).error_code == "too_long"
    assert not Call.objects.exists()


def make_media(path, seconds):
    """A video, or audio alone where that is what such a file holds."""
    if path.suffix in (".webm", ".mp3", ".wav", ".ogg"):
        return make_audio(path, seconds)
    return make_video(path, seconds, faststart=path.suffix == ".mp4")


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".ts", ".avi", ".flv", ".mp3", ".wav"])
def test_a_file_that_was_cut_off_completes_with_a_warning(upload, worker, tmp_path, ending):
    whole = make_media(tmp_path / f"whole{ending}", 20)
    cut = tmp_path / f"cut{ending}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])

    video = ended(upload(cut))

    assert video.status == "completed", video.error
    assert 5 < video.duration_s < 20
    assert [warning["code"] for warning in video.warnings] == ["truncated_media"]


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".ts", ".flv", ".mp3", ".wav", ".ogg"])
def test_a_whole_file_completes_without_a_warning(upload, worker, tmp_path, ending):
    talk = {"title": "How corrupt files happen", "comment": "Duration: 13:00:00.00, truncated"}
    told = [part for name, text in talk.items() for part in ("-metadata", f"{name}={text}")]
    named = tmp_path / f"named{ending}"
    run_ffmpeg("-i", make_media(tmp_path / f"whole{ending}", 9), *told, "-c", "copy", named)

    video = ended(upload(named))

    assert (video.status, video.warnings) == ("completed", []), video.error
    assert video.duration_s == pytest.approx(9, abs=0.2)


def test_silence_completes_with_an_empty_transcript_and_costs_nothing(upload, worker, tmp_path):
    video = ended(upload(make_silence(tmp_path / "silence.mp4")))

    assert (video.status, video.coverage) == ("completed", 1)
    assert [warning["code"] for warning in video.warnings] == ["no_speech"]
    assert not Call.objects.exists()


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "quoted".mp4',
        "two\nlines.mp4",
        "../../../etc/cron.d/evil.mp4",
        "🎬🎥.mp4",
        "x" * 300 + ".mp4",
        "-i.mp4",
        "$(touch hacked);&.mp4",
        ".mp4",
        "no ending",
        "a.mp4\x00.exe",
    ],
)
def test_hostile_file_names_are_shown_and_never_used(upload, worker, name):
    video = ended(upload(name=name))

    assert video.status == "completed", video.error
    assert video.file.name.startswith(f"videos/{video.creator_id}/{video.pk}/source")
    assert video.title
    assert len(video.title) <= 255


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".ts", ".mpg"])
def test_audio_that_starts_late_keeps_its_time(upload, worker, tmp_path, clip, ending):
    late = tmp_path / f"late{ending}"
    both = ("-map", "0:v", "-map", "1:a", "-r", "25", "-ar", "44100")
    run_ffmpeg("-i", clip, "-itsoffset", "5", "-i", clip, *both, late)

    video = ended(upload(late))

    assert video.status == "completed", video.error
    assert video.duration_s == pytest.approx(13, abs=0.3)
    part = video.transcripts.get().parts.get()
    assert part.speech[0][0] == pytest.approx(5000, abs=100)


def test_no_file_leaves_the_worker_with_open_runs(upload, worker, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\xff" * 5000)

    videos = [ended(upload(bad)) for _ in range(3)]

    assert {video.error_code for video in videos} == {"unreadable_media"}
    assert not Run.objects.filter(holds_slot=True).exists()
    assert Video.objects.filter(status="failed").count() == 3


def test_a_guess_of_ffmpeg_does_not_make_a_file_too_long(upload, worker, settings, tmp_path):
    settings.CHRONOS_MAX_DURATION_S = 60
    quiet, loud = tmp_path / "quiet.aac", tmp_path / "loud.aac"
    run_ffmpeg("-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo:d=10", "-b:a", "128k", quiet)
    run_ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=20:r=44100", "-ac", 2, "-b:a", "256k", loud)
    talk = tmp_path / "talk.aac"
    talk.write_bytes(quiet.read_bytes() + loud.read_bytes())
    guess = ffmpeg.probe(talk)
    assert guess.is_estimated
    assert guess.duration_ms > 60_000

    assert ended(upload(talk)).status == "completed"

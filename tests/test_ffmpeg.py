"""ffmpeg in its sandbox."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from tests.conftest import run_python
from tests.media import make_video, run_ffmpeg
from videos.audio import ffmpeg
from videos.audio.decoding import decode
from videos.exceptions import Misconfigured, RunCancelled, UnreadableMedia
from videos.local import confinement, cores, launcher, sandbox, semaphores


def launch(limits, *program):
    return subprocess.run(
        sandbox.command(program, **limits),
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_limits_hold_in_the_child():
    spin = (sys.executable, "-c", "while True: pass")

    assert launch({"cpu_s": 1}, *spin).returncode < 0


def test_the_child_has_no_memory_beyond_its_limit():
    hog = (sys.executable, "-c", "bytearray(10**9)")

    assert "MemoryError" in launch({"memory_bytes": 500_000_000}, *hog).stderr


def test_the_child_cannot_write_files_beyond_its_limit(tmp_path):
    fill = (sys.executable, "-c", f"open({str(tmp_path / 'f')!r}, 'wb', 0).write(b'x' * 99)")

    launch({"file_bytes": 10}, *fill)

    assert (tmp_path / "f").stat().st_size == 10


@pytest.mark.skipif(
    not ffmpeg.can_leave_network(),
    reason="the kernel allows no network namespace",
)
def test_the_child_has_no_network():
    connect = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"

    assert (
        "Network is unreachable"
        in launch({"no_network": True}, sys.executable, "-c", connect).stderr
    )


CONFINED = pytest.mark.skipif(
    not confinement.has_landlock(), reason="the kernel has no Landlock, or it is switched off"
)


@CONFINED
def test_a_confined_child_reads_what_it_is_given_and_nothing_else(tmp_path):
    given, secret = tmp_path / "given", tmp_path / "secret.key"
    given.write_text("the file")
    secret.write_text("the secret")
    confined = {"readable": [str(given)]}

    assert launch(confined, "cat", str(given)).stdout == "the file"
    assert launch(confined, "cat", str(secret)).stdout == ""
    assert launch(confined, "ls", str(tmp_path)).stdout == ""


@CONFINED
@pytest.mark.parametrize(
    "doing", ["rm given", "echo x > given", "echo x > new", "mkdir d", "mv given g", "ln given h"]
)
def test_a_confined_child_changes_no_file(tmp_path, doing):
    (tmp_path / "given").write_text("the file")

    done = launch({"readable": [str(tmp_path)]}, "sh", "-c", f"cd {tmp_path} && {doing}")

    assert done.returncode
    assert [path.name for path in tmp_path.iterdir()] == ["given"]
    assert (tmp_path / "given").read_text() == "the file"


def test_a_confined_child_has_no_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    said = launch(
        {"readable": []}, "sh", "-c", "set; cat /proc/self/environ; cat /proc/$PPID/environ"
    )

    assert "sk-secret" not in said.stdout


@pytest.mark.skipif(shutil.which("perl") is None, reason="perl is not installed")
def test_a_confined_child_reaches_no_socket(tmp_path):
    path = str(tmp_path / "redis.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connect = (
            "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0)"
            f" and connect(S, sockaddr_un('{path}')) or die $!"
        )
        free, confined = (
            launch(limits, "perl", "-e", connect) for limits in ({}, {"readable": [path]})
        )

    assert free.returncode == 0, free.stderr
    assert "not permitted" in confined.stderr


def test_a_confined_child_signals_nobody():
    done = launch({"readable": []}, "sh", "-c", "kill -0 $PPID")

    assert done.returncode


def test_ffmpeg_starts_in_its_sandbox():
    assert ffmpeg.can_start()


def test_no_more_headers_are_read_at_once_than_there_are_cores(tmp_path, monkeypatch):
    at_once, most = [0], [0]
    start, end = ffmpeg.start, launcher.Launched.end
    guard = threading.Lock()

    def started(*arguments):
        with guard:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        return start(*arguments)

    def ended(process):
        end(process)
        with guard:
            at_once[0] -= 1

    monkeypatch.setattr(ffmpeg, "start", started)
    monkeypatch.setattr(launcher.Launched, "end", ended)
    clip = make_video(tmp_path / "clip.mp4")
    threads = [threading.Thread(target=ffmpeg.probe, args=[clip]) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 0 < most[0] <= os.cpu_count()


def test_a_child_dies_with_its_parent(tmp_path):
    parent = (
        "import subprocess, sys\n"
        "from videos.local.sandbox import command\n"
        "child = subprocess.Popen(command(['sleep', '60']))\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    process = run_python(parent)
    assert process.stdout
    process.stdout.readline()

    process.kill()

    # The child holds the pipe's other end: it ends only when the child is gone.
    assert process.communicate(timeout=30)[0] == b""


def test_probing_tells_duration_and_codec(tmp_path):
    found = ffmpeg.probe(make_video(tmp_path / "clip.mp4", 4))

    assert found.duration_ms == pytest.approx(4000, abs=100)
    assert [track.codec for track in found.tracks] == ["aac"]


def test_a_track_is_found_whatever_its_language_is_called(tmp_path):
    both = tmp_path / "both.mkv"
    named = ("-metadata:s:a:0", "language=en-US", "-metadata:s:a:1", "language=ger,fre")
    clip = make_video(tmp_path / "clip.mp4", 4)
    run_ffmpeg("-i", clip, *("-map", "0:v", "-map", "0:a", "-map", "0:a"), *named, both)

    found = ffmpeg.probe(both)

    assert [(track.index, track.language) for track in found.tracks] == [(1, "en"), (2, "de")]
    assert [track.index for track in found.choose("de").used] == [2]


@pytest.mark.parametrize("program", ["/no/such/ffmpeg", "/"])
def test_an_ffmpeg_that_cannot_be_started_is_no_fault_of_the_file(tmp_path, monkeypatch, program):
    monkeypatch.setattr(ffmpeg, "ffmpeg_path", lambda: program)

    with pytest.raises(Misconfigured, match="ffmpeg cannot be started"):
        ffmpeg.probe(tmp_path / "clip.mp4")


def test_a_playlist_is_refused_by_its_format(tmp_path):
    evil = tmp_path / "evil.m3u8"
    evil.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n")

    with pytest.raises(UnreadableMedia, match="playlist"):
        ffmpeg.probe(evil)


def test_decoding_ends_ffmpeg_when_the_block_ends(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", 30)
    with decode(clip, 60, ffmpeg.probe(clip).choose("").used[0]) as decoding:
        next(decoding.blocks())

    assert decoding._process.poll() is not None


def test_no_more_decode_at_once_than_there_are_cores(tmp_path, monkeypatch):
    clip = make_video(tmp_path / "clip.mp4", 4)
    track = ffmpeg.probe(clip).choose("").used[0]
    only = cores.Cores([min(os.sched_getaffinity(0))])
    monkeypatch.setattr(cores, "_cores", lambda: only)
    monkeypatch.setattr(semaphores, "_CHECK_S", 0.01)

    def is_cancelled():
        raise RunCancelled

    with decode(clip, 60, track):
        with pytest.raises(RunCancelled), decode(clip, 60, track, check=is_cancelled):
            pass
    with decode(clip, 60, track, check=is_cancelled) as decoding:
        assert sum(map(len, decoding.blocks())) == pytest.approx(4 * 16_000, abs=500)


def test_each_decoder_has_a_core_of_its_own(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", 30)
    with decode(clip, 60, ffmpeg.probe(clip).choose("").used[0]) as decoding:
        next(decoding.blocks())
        allowed = os.sched_getaffinity(decoding._process.pid)

    assert len(allowed) == 1


def test_a_core_that_is_gone_costs_nothing_but_time():
    child = launch({"core": 4_000}, sys.executable, "-c", "print('here')")

    assert (child.returncode, child.stdout) == (0, "here\n")


def test_a_file_that_says_much_of_itself_is_read(tmp_path):
    lyrics = "\\\n".join(["и тогда мы увидели что задача решается проще"] * 12_000)
    (tmp_path / "meta.txt").write_text(f";FFMETADATA1\nlyrics={lyrics}\n")
    song = tmp_path / "song.mp3"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "sine=440:d=2", "-i", tmp_path / "meta.txt"),
        *("-map_metadata", 1, song),
    )
    assert song.stat().st_size > 1_000_000

    assert [track.codec for track in ffmpeg.probe(song).tracks] == ["mp3"]


def test_a_decoder_that_cannot_be_started_is_no_fault_of_the_file(tmp_path, monkeypatch):
    clip = make_video(tmp_path / "clip.mp4", 2)
    track = ffmpeg.probe(clip).choose("").used[0]
    monkeypatch.setattr(ffmpeg, "ffmpeg_path", lambda: "/no/such/ffmpeg")

    with decode(clip, 60, track) as decoding:
        assert list(decoding.blocks()) == []
        with pytest.raises(Misconfigured, match="ffmpeg cannot be started"):
            decoding.is_broken()


def test_a_lower_limit_that_holds_already_stays():
    asked = sandbox.command(["true"], cpu_s=5_000)
    program = f"ulimit -t 4000; exec {shlex.join(asked)}"

    assert subprocess.run(["sh", "-c", program], timeout=30).returncode == 0

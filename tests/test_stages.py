"""The order of a video's stages: data, to which other apps add."""

import pytest

from videos.durable.registry import Stage
from videos.models import Revision, Transcript, Video
from videos.pipeline.stages import VideoStage, VideoStages, stages


def made(*names):
    """Stages of these names, of equal weight, each behind the one before."""
    order, before = VideoStages(), None
    for name in names:
        add(order, name, after=before)
        before = name
    return order


def add(order, name, *, after, weight=1.0):
    stage = Stage(name, print)
    order.add(VideoStage(name, stage, Video.Status.CHUNKING, weight), after=after)


def test_ours_come_in_their_order():
    assert list(stages) == ["transcribe", "chunk", "embed", "finish"]


def test_a_stage_comes_right_behind_the_one_that_it_names():
    order = made("a", "b", "c")

    add(order, "new", after="a")

    assert list(order) == ["a", "new", "b", "c"]
    assert order.is_before("new", "b")
    assert not order.is_before("b", "new")


@pytest.mark.parametrize("name", ["a", "", "x" * 17])
def test_a_name_that_is_taken_empty_or_too_long_is_refused(name):
    with pytest.raises(ValueError, match=r"already|needs a name of 1"):
        add(made("a"), name, after="a")


def test_a_stage_behind_one_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="there is no stage 'z': a, b"):
        add(made("a", "b"), "new", after="z")


def test_progress_runs_from_0_to_1_by_the_weights():
    order = made("a", "b")
    add(order, "heavy", after="a", weight=2.0)

    shown = [order.progress(name, share) for name in order for share in (0.0, 0.5, 1.0)]

    assert shown == [0, 0.125, 0.25, 0.25, 0.5, 0.75, 0.75, 0.875, 1.0]
    assert order.progress("a", -3) == 0
    assert order.progress("b", 9) == 1


def test_a_run_goes_on_at_the_first_stage_whose_work_is_missing():
    revision = Revision(transcript=None)
    assert stages.first_unfinished(revision) == "transcribe"

    revision.transcript = Transcript(completed_at="2026-01-01")
    assert stages.first_unfinished(revision) == "chunk"

    revision.chunked_at = "2026-01-01"
    assert stages.first_unfinished(revision) == "embed"

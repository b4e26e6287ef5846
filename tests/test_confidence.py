"""Speech without text lowers the coverage; text that cannot be true is flagged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.audio import confidence
from videos.audio.stitching import RecognizedSegment


@pytest.mark.parametrize(
    ("speech", "segments", "share"),
    [
        ([], [], 1.0),  # nobody speaks
        ([(0, 10_000)], [], 0.0),
        ([(0, 10_000)], [(0, 10)], 1.0),
        ([(0, 10_000), (10_500, 20_500)], [(0, 10)], 0.525),  # a second of tolerance
        ([(0, 10_000)], [(0, 3), (2, 4)], 0.5),  # overlaps count once
    ],
)
def test_coverage_is_the_share_of_speech_that_was_transcribed(speech, segments, share):
    recognized = [RecognizedSegment(start, end, "text") for start, end in segments]

    assert confidence.coverage(speech, recognized) == pytest.approx(share, abs=0.01)


def doubt_of(segments, speech=((0, 100_000),)):
    return [segment.doubt for segment in confidence.doubted(list(speech), segments)]


def test_ordinary_speech_is_not_doubted():
    said = "Compound interest is interest on interest, and it grows faster than you would think."

    assert doubt_of(
        [
            RecognizedSegment(0, 5.5, said),
            RecognizedSegment(6, 7, "Yes."),
            RecognizedSegment(8, 9, "Yes."),
        ]
    ) == ["", "", ""]


def test_a_line_that_is_repeated_is_doubted_each_time():
    loop = [RecognizedSegment(n, n + 1, "Thank you.") for n in range(3)]

    assert doubt_of([*loop, RecognizedSegment(4, 6, "Let us begin.")]) == ["repeated"] * 3 + [""]


def test_a_text_that_repeats_itself_is_doubted():
    assert doubt_of([RecognizedSegment(0, 60, "and so on and " * 20)]) == ["repeated"]


def test_text_over_silence_is_doubted():
    invented = RecognizedSegment(50, 54, "Thanks for watching!")

    assert doubt_of([invented], speech=[(0, 40_000)]) == ["silent"]


def test_more_words_than_anybody_says_are_doubted():
    said = "These are far too many words for the little time that they are said to take up."

    assert doubt_of([RecognizedSegment(1.0, 2.0, said)]) == ["too fast"]


def test_what_the_service_doubts_itself_stays_doubted():
    assert doubt_of([RecognizedSegment(0, 5, "Hm.", doubt=confidence.UNSURE)]) == ["unsure"]


def test_doubtful_text_earns_no_trust():
    loop = [RecognizedSegment(n, n + 1, "Thank you.") for n in range(10)]

    assert confidence.coverage([(0, 10_000)], loop) == 1
    assert confidence.score([(0, 10_000)], loop) == 0


TAMIL = (
    "இன்று நான் உங்களுக்கு ஒரு முக்கியமான விஷயத்தைப் பற்றி சொல்லப் போகிறேன். நம்முடைய ஊரில் மழை "
    "குறைந்த காலத்தில் விவசாயிகள் எப்படி தண்ணீரைச் சேமித்தார்கள் என்பதையும் அதற்காக அவர்கள் கட்டிய "
    "குளங்கள் இன்றைக்கும் எப்படிப் பயன்படுகின்றன என்பதையும் பார்க்கலாம்."
)


def test_a_script_of_many_bytes_is_no_repetition():
    assert doubt_of([RecognizedSegment(0, 30, TAMIL)]) == [""]
    assert doubt_of([RecognizedSegment(0, 60, TAMIL[:20] * 20)]) == ["repeated"]


SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda at: (at[0], at[0] + at[1])),
    max_size=8,
)


@given(SPANS, SPANS)
def test_coverage_is_what_counting_every_second_gives(speech, segments):
    spoken = {second for start, end in speech for second in range(start, end)}
    # A second of tolerance on both sides.
    recognized = {second for start, end in segments for second in range(start - 1, end + 1)}
    intervals = [(start * 1000, end * 1000) for start, end in speech]
    said = [RecognizedSegment(start, end, "text") for start, end in segments]

    share = len(spoken & recognized) / len(spoken) if spoken else 1.0
    assert confidence.coverage(intervals, said) == pytest.approx(share)

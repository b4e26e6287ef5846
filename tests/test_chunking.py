"""Chunks of 500 to 1000 words, whatever was said in whatever script."""

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videos.audio.stitching import RecognizedSegment
from videos.text import sentences as text_sentences
from videos.text.chunking import MAX_WORDS, MIN_WORDS, _cheapest_cuts, _Unit, chunk
from videos.text.counting import count_words, estimate_tokens, milliwords, weights
from videos.text.passages import in_passages

COSTS = [0.0, 2.0, 0.1, 10.0]
SENTENCES = {
    "English": "The quick brown fox jumps over the lazy dog near the river bank.",
    "Japanese": "これは日本語の文章で、植物が光からどのように糖を作るかを説明します。",
    "Chinese": "这是一个关于植物如何利用阳光制造糖分的简短讲座。",
    "Thai": "พืชสีเขียวใช้แสงอาทิตย์เพื่อสร้างน้ำตาล",
    "Arabic": "كيف تصنع النباتات الخضراء السكر من ضوء الشمس؟",
}


def said(texts):
    return [RecognizedSegment(2.0 * n, 2.0 * n + 1.5, text) for n, text in enumerate(texts)]


@pytest.mark.parametrize("language", SENTENCES)
def test_every_script_is_cut_into_chunks_of_the_right_size(language):
    chunks = chunk(said([SENTENCES[language]] * 400))

    assert len(chunks) > 1
    assert all(MIN_WORDS <= entry.word_count <= MAX_WORDS for entry in chunks)
    assert "".join(entry.text for entry in chunks).count(SENTENCES[language]) == 400


@pytest.mark.parametrize("language", ["Japanese", "Chinese", "Thai"])
def test_scripts_without_spaces_get_no_spaces(language):
    (only,) = chunk(said([SENTENCES[language]] * 3))

    assert only.text == SENTENCES[language] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world!", 2),
        ("It's 3.14 o'clock, isn't it?", 5),
        ("", 0),
        ("… – !", 0),
        ("植物如何利用阳光", 5),
    ],
)
def test_words_are_counted_by_unicode(text, words):
    assert count_words(text) == words


def test_a_short_video_is_one_chunk_with_its_times():
    (only,) = chunk(said(["Hello.", "Good bye."]))

    assert (only.text, only.start, only.end) == ("Hello. Good bye.", 0.0, 3.5)
    assert (only.first_segment, only.last_segment) == (0, 1)


def test_chunks_end_at_the_ends_of_sentences():
    segments = said([f"word {n}" + ("." if n % 3 == 2 else "") for n in range(1500)])

    assert all(entry.text.endswith(".") for entry in chunk(segments))


def test_where_there_are_no_sentences_chunks_end_at_segments():
    segments = said(["no stop here at all"] * 500)

    assert all(entry.text.endswith("at all") for entry in chunk(segments))


def test_an_endless_sentence_in_one_segment_is_cut_between_words():
    chunks = chunk(said(["word " * 3500]))

    assert " ".join(entry.text for entry in chunks).split() == ["word"] * 3500
    assert all(entry.word_count <= MAX_WORDS for entry in chunks)


def test_the_last_chunk_is_balanced_with_the_one_before():
    chunks = chunk(said(["ten words are in this sentence, count them, please, now."] * 110))

    assert [entry.word_count for entry in chunks] == [550, 550]


def test_nothing_said_gives_no_chunks():
    assert chunk([]) == []


words = st.text(alphabet="abcdefgh", min_size=1, max_size=9)
sentences = st.lists(words, min_size=1, max_size=60).map(" ".join)
texts = st.tuples(sentences, st.sampled_from(["", ".", "?", "!", ". More", " 3.5"])).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=150))
def test_no_word_is_lost_or_doubled_and_time_runs_forward(lines):
    segments = said(lines)

    chunks = chunk(segments)

    recognized = [word for entry in chunks for word in entry.text.split()]
    assert recognized == [word for line in lines for word in line.split()]
    assert all(entry.word_count <= MAX_WORDS for entry in chunks)
    assert [entry.start for entry in chunks] == sorted(entry.start for entry in chunks)
    for entry in chunks:
        assert entry.start == segments[entry.first_segment].start
        assert entry.end == segments[entry.last_segment].end


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400))
def test_only_what_is_short_as_a_whole_has_fewer_than_500_words(count):
    chunks = chunk(said(["ten words are in this sentence, count them, please, now."] * count))

    assert all(entry.word_count >= MIN_WORDS for entry in chunks) or count < 50


def test_passages_cover_every_segment_in_order():
    segments = said(["nine words stand in each of these many lines"] * 7)

    grouped = in_passages(segments)

    assert [position for position, _ in grouped] == [0, 3, 6]
    assert " ".join(text for _, text in grouped).split() == 7 * segments[0].text.split()


@pytest.mark.parametrize(
    ("text", "least"),
    # What tiktoken counts in such a text (cl100k_base), in tokens a byte.
    [("საქართველოს ისტორია", 0.64), ("Հայաստանի պատմություն", 0.8), ("தமிழ் வரலாறு", 0.44)],
)
def test_tokens_are_estimated_on_the_high_side_in_rare_scripts_too(text, least):
    size = len(text.encode())

    assert least * size <= estimate_tokens(text) <= size


#: 1,000 words of 25 characters, and a space after each unit.
MAX_CHARACTERS = 26_500
HARDLY_WORDS = ["! " * 100_000, "!" * 200_000, '"' * 1_000_000, "." + ")" * 200_000, "x" * 200_000]


@pytest.mark.parametrize("text", [*HARDLY_WORDS, "a.! " * 50_000, "\u0301" * 200_000])
def test_a_chunk_is_bounded_by_characters_too(text):
    """So it can be indexed, and takes no longer than its share."""
    chunks = chunk(said([text]))

    assert max(len(each.text) for each in chunks) <= MAX_CHARACTERS
    assert "".join("".join(each.text.split()) for each in chunks) == "".join(text.split())


@pytest.mark.parametrize("text", ["!", "!" * 50, "! " * 20, "word " * 30_000])
def test_many_segments_of_hardly_any_words_are_bounded(text):
    segments = said([text] * 2_000 if len(text) < 100 else [text, "and more"] * 5)

    chunks, grouped = chunk(segments), in_passages(segments)

    assert max(len(each.text) for each in chunks) <= MAX_CHARACTERS
    assert max(len(passage) for _, passage in grouped) <= MAX_CHARACTERS
    assert [first for first, _ in grouped] == sorted({first for first, _ in grouped})


@given(st.text("ab,.!?\"')] \t\n\r\x0b\x0c\x1c").map(str.strip))
def test_ascii_is_parted_as_any_other_text(text):
    assert text_sentences.sentences(text) == [
        each for each in text_sentences._SENTENCE_BREAK.split(text) if each
    ]


@given(st.text(st.sampled_from("aehxAEH019 .,:;'_\"-!?()\n/@"), max_size=80))
def test_ascii_is_counted_as_any_other_text(text):
    assert milliwords(text) == sum(weight for _, weight in weights(text))


@given(st.lists(st.integers(1, 900), min_size=1, max_size=12))
@settings(deadline=None)
def test_no_other_cuts_cost_less(sizes):
    """Beside all ways to cut: those of least cost, as `_cheapest_cuts` says."""
    units = [
        _Unit("x", "", 0, 0, size * 1000, cost)
        for size, cost in zip(sizes, COSTS * 3, strict=False)
    ]

    def price(bounds):
        total = 0.0
        for begin, end in pairwise(bounds):
            words = sum(sizes[begin:end])
            deviation = (words - 750) / 250
            total += deviation**2 + (0.0 if end == len(sizes) else units[end - 1].cut_cost)
            if words < MIN_WORDS and len(bounds) > 2:
                total += 100 + MIN_WORDS - words
            if words > MAX_WORDS and end - begin > 1:
                return math.inf
        return total

    inner = range(1, len(sizes))
    ways = [
        [0, *cuts, len(sizes)] for count in range(len(sizes)) for cuts in combinations(inner, count)
    ]

    assert price(_cheapest_cuts(units)) == pytest.approx(min(map(price, ways)))

"""The second opinion on hits: asked where it is set up, booked, and done without if it fails."""

from decimal import Decimal

import pytest

from tests.rerank_server import KEY, MODEL, RerankServer
from tests.rows import spoken_video
from videos.models import Call, Video
from videos.search import search

pytestmark = pytest.mark.django_db(transaction=True)

SHORT = "Interest grows."
LONG = "Interest grows slowly while nobody looks at it at all."


@pytest.fixture
def reranker(settings):
    server = RerankServer()
    settings.CHRONOS_RERANK_BASE_URL = server.url
    settings.CHRONOS_RERANK_API_KEY = KEY
    settings.CHRONOS_RERANK_MODEL = MODEL
    settings.CHRONOS_PRICES = {MODEL: {"call": 0.002}}
    yield server
    server.stop()


@pytest.fixture
def _said(creator):
    spoken_video(creator, [SHORT])
    spoken_video(creator, [LONG])


def found(**options):
    return [hit.snippet for hit in search("interest grows", Video.objects.all(), **options)]


@pytest.mark.usefixtures("_said")
def test_without_a_service_nothing_is_asked():
    assert found() == [SHORT, LONG]
    assert not Call.objects.filter(service="rerank").exists()


@pytest.mark.usefixtures("_said")
def test_the_best_are_ordered_once_more_and_the_call_is_booked(reranker):
    hits = search("interest grows", Video.objects.all(), limit=1)

    assert [(hit.snippet, hit.score) for hit in hits] == [(LONG, len(LONG) / 1_000)]
    (asked,) = reranker.asked
    assert asked == {
        "model": MODEL,
        "query": "interest grows",
        "documents": [SHORT, LONG],
        "top_n": 2,
    }
    call = Call.objects.get(service="rerank")
    assert (call.state, call.cost_usd) == (Call.State.ANSWERED, Decimal("0.002"))
    assert found(mode="text") == [SHORT, LONG], "words alone are shown before the services answer"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, {}),
        (401, {}),
        (200, {"results": [{"index": 0, "relevance_score": 1.0}]}),
        (200, {"results": [{"index": 0, "relevance_score": "nan"}]}),
        (200, ["?"]),
        (200, {"results": None}),
    ],
)
@pytest.mark.usefixtures("_said")
def test_a_service_that_fails_changes_nothing(reranker, status, answer):
    reranker.status, reranker.answer = status, answer

    assert found() == [SHORT, LONG]
    assert Call.objects.filter(service="rerank").count() == 1

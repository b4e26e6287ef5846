"""A stage of one's own, `summarize`, in one file."""

from uuid import UUID

from videos.exceptions import ServiceUnavailable
from videos.stages import PaidAnswer, StageContext, stage

#: The calls of this process: the service is down for the first of them.
_asked: list[UUID] = []


@stage("summarize", after="chunk", retries=1)
def summarize(run: StageContext) -> None:
    texts = run.step("texts", lambda: [chunk.text for chunk in run.chunks])
    for number, text in enumerate(texts, start=1):

        def ask(*, model: str, call_id: UUID, within_s: float, text: str = text) -> PaidAnswer:
            _asked.append(call_id)
            if len(_asked) == 1:
                raise ServiceUnavailable("The chat service is down.", http_status=503)
            words = text.split()
            return PaidAnswer({"summary": " ".join(words[:5])}, tokens=len(words))

        run.paid_step(f"summary {number}", "chat", "summary-1", ask, tokens=1_000)
        run.progress(number / len(texts))

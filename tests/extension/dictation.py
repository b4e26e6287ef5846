"""A transcription provider whose API is not OpenAI's: raw audio in, utterances out."""

import json
import os
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request as HttpRequest
from urllib.request import urlopen
from uuid import UUID

from videos.ai.capabilities import Capability
from videos.ai.transcription import Recognized, Request
from videos.audio.stitching import RecognizedSegment
from videos.exceptions import RateLimited, Rejected, ServiceUnavailable, Unauthorized


class Dictation:
    """Calls a service at DICTATION_URL."""

    prices = {"dictate-1": {"minute": 0.6}}

    @staticmethod
    def capability(model: str) -> Capability:
        return Capability(granularities=("segment",), max_ms=60_000)

    def transcribe(
        self,
        path: Path,
        *,
        request: Request,
        duration_s: float,
        model: str,
        call_id: UUID,
        within_s: float,
    ) -> Recognized:
        query = urlencode({"lang": request.language or "auto", "ref": str(call_id)})
        url = f"{os.environ['DICTATION_URL']}/listen?{query}"
        try:
            with urlopen(HttpRequest(url, path.read_bytes()), timeout=within_s) as response:
                answer = json.load(response)
        except HTTPError as error:
            raise self._translated(error) from None
        except URLError as error:
            raise ServiceUnavailable(f"Dictation cannot be reached: {error.reason}.") from None
        segments = [
            RecognizedSegment(each["from"], each["to"], each["said"])
            for each in answer["utterances"]
        ]
        return Recognized(segments, answer["lang"], audio_seconds=answer["billed_s"])

    def close(self) -> None:
        pass

    @staticmethod
    def _translated(error: HTTPError) -> Exception:
        if error.code == 429:
            wait_s = float(error.headers["Retry-After"])
            return RateLimited("Dictation asks to wait.", retry_after_s=wait_s)
        if error.code in (401, 403):
            return Unauthorized("Dictation refused the key.", http_status=error.code)
        kind = ServiceUnavailable if error.code >= 500 else Rejected
        return kind(f"Dictation said {error.code}.", http_status=error.code)

"""`evaluate_search`: how often a search finds the moment, on questions whose answers are known."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from pydantic import BaseModel, TypeAdapter, ValidationError

from videos.exceptions import ChronosError
from videos.management.reporting import (
    Failed,
    ReportingCommand,
    WrongUsage,
    find_creator,
)
from videos.models import Video
from videos.search import MODES, search
from videos.text import evaluation
from videos.text.evaluation import DEPTH, Found, Outcome

_COLUMNS = ("questions", "first", "five", "mrr", "ndcg", "jump_p50_s", "jump_p95_s", "silent")


class Question(BaseModel):
    """A question, and where its answer is said: nowhere, if `iv` is empty."""

    id: str
    #: The class that it is counted in, such as "keywords".
    cls: str
    #: The title of the video; none where nothing is said of it.
    video: str | None = None
    q: str
    #: [start, end] in seconds, of every place that answers it.
    iv: list[tuple[float, float]] = []


class Command(ReportingCommand):
    """Asks every question in every mode, and counts; a hit is right within 15 s of its answer."""

    help = (
        "Measure the search: QUESTIONS is a JSON list of "
        '{"id", "cls", "video" (its title), "q", "iv": [[start, end], …]}; without any "iv", '
        "the right answer is that nothing is found."
    )
    examples = (
        "questions.json",
        "questions.json --mode text --creator ada --json",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("questions", metavar="QUESTIONS", type=Path)
        parser.add_argument("--creator", help="Only this creator's videos.")
        parser.add_argument(
            "--mode", choices=MODES, action="append", help="May be repeated; default: all."
        )
        parser.add_argument("--failures", action="store_true", help="List what is not first.")

    def perform(self, **options: Any) -> Any:
        questions = read_questions(options["questions"])
        videos = Video.objects.all()
        if options["creator"]:
            videos = videos.filter(creator=find_creator(options["creator"]))
        titles = set(videos.values_list("title", flat=True))
        if missing := sorted({each.video for each in questions if each.video} - titles):
            raise Failed(f"There is no video with the title {missing[0]!r}.", code="not_found")
        document: dict[str, Any] = {"questions": len(questions), "modes": {}, "failures": []}
        for mode in options["mode"] or MODES:
            by_class: dict[str, list[Outcome]] = defaultdict(list)
            for question in questions:
                try:
                    hits = search(question.q, videos, DEPTH, mode)
                except ChronosError as error:
                    raise Failed(str(error), code=error.code) from None
                found = [Found(hit.video.title == question.video, hit.start) for hit in hits]
                outcome = evaluation.judge(found, question.iv)
                by_class[question.cls].append(outcome)
                is_right = outcome.rank == 0 if question.iv else outcome.is_silent
                if options["failures"] and not is_right:
                    document["failures"].append(
                        {"mode": mode, "id": question.id, "q": question.q, "rank": outcome.rank}
                    )
            document["modes"][mode] = summaries(questions, by_class)
        return document

    def show(self, document: Any, **options: Any) -> None:
        for mode, by_class in document["modes"].items():
            self.stdout.write(f"{mode:<14}" + "".join(f"{name:>12}" for name in _COLUMNS))
            for name, numbers in by_class.items():
                cells = (numbers.get(column) for column in _COLUMNS)
                shown = ("–" if cell is None else str(cell) for cell in cells)
                self.stdout.write(f"  {name:<12}" + "".join(f"{cell:>12}" for cell in shown))
        for failure in document["failures"]:
            place = "not found" if failure["rank"] is None else f"place {failure['rank'] + 1}"
            self.stdout.write(f"{failure['mode']}, {failure['id']}, {place}: {failure['q']}")


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a file.

    Raises:
        WrongUsage: if there is none that can be read.
    """
    try:
        return TypeAdapter(list[Question]).validate_json(path.read_bytes())
    except OSError as error:
        raise WrongUsage(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise WrongUsage(f"{path} holds no questions: {first['msg']} ({place}).") from None


def summaries(
    questions: list[Question], by_class: dict[str, list[Outcome]]
) -> dict[str, dict[str, Any]]:
    """Return the numbers of all questions that have an answer, and of each class."""
    answerable = {each.cls for each in questions if each.iv}
    every = [outcome for name in answerable for outcome in by_class[name]]
    return {
        "all": evaluation.summary(every),
        **{name: evaluation.summary(its) for name, its in sorted(by_class.items())},
    }

"""The pages of the platform itself; those of Chronos are included under /videos/."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from courses.models import Course, Lesson
from videos.access import editable_videos, visible_videos
from videos.models import Video


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """List the courses that one teaches or takes."""
    mine = Course.objects.filter(Q(teacher=request.user) | Q(students=request.user)).distinct()
    return render(request, "courses/home.html", {"courses": mine})


@require_safe
@login_required
def course(request: HttpRequest, course_id: int) -> HttpResponse:
    """Show a course with its lessons; its teacher adds videos to it."""
    mine = Course.objects.filter(Q(teacher=request.user) | Q(students=request.user)).distinct()
    found = get_object_or_404(mine, pk=course_id)
    is_taught = found.teacher_id == request.user.pk
    unused = (
        editable_videos(request.user).filter(lesson=None) if is_taught else Video.objects.none()
    )
    lessons = found.lessons.select_related("video")
    context = {"course": found, "lessons": lessons, "unused": unused, "is_taught": is_taught}
    return render(request, "courses/course.html", context)


@require_POST
@login_required
def add_lesson(request: HttpRequest, course_id: int) -> HttpResponse:
    """Make a video of the teacher's a lesson of the course."""
    found = get_object_or_404(Course, pk=course_id, teacher=request.user)
    unused = editable_videos(request.user).filter(lesson=None)
    video = get_object_or_404(unused, pk=request.POST.get("video"))
    Lesson.objects.create(course=found, video=video, position=found.lessons.count())
    return redirect("course", found.pk)


@require_safe
@login_required
def lesson(request: HttpRequest, lesson_id: int) -> HttpResponse:
    """Show a lesson: the player, its transcript, and a search, by three template tags."""
    visible = visible_videos(request.user)
    found = get_object_or_404(Lesson.objects.filter(video__in=visible), pk=lesson_id)
    return render(request, "courses/lesson.html", {"lesson": found, "video": found.video})

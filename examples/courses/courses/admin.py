"""Courses and enrolments in the admin."""

from __future__ import annotations

from django.contrib import admin

from courses.models import Course, Lesson


class LessonInline(admin.TabularInline):
    """The lessons of a course."""

    model = Lesson
    extra = 0


@admin.register(Course)
class CourseAdmin(admin.ModelAdmin):
    """Courses, with who is enrolled."""

    list_display = ("title", "teacher")
    filter_horizontal = ("students",)
    inlines = (LessonInline,)

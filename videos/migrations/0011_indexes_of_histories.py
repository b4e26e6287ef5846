"""Built while workers go on: with long histories, each takes longer than a lease.

If this is interrupted, drop the index that is marked INVALID in psql's \\d, and migrate again.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("videos", "0010_long_histories"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='call',
            index=models.Index(fields=['-sent_at', '-id'], name='call_newest'),
        ),
        AddIndexConcurrently(
            model_name='call',
            index=models.Index(condition=models.Q(('state', 'answered'), _negated=True), fields=['state', '-sent_at'], name='call_state'),
        ),
        AddIndexConcurrently(
            model_name='call',
            index=models.Index(fields=['model', '-sent_at'], name='call_model'),
        ),
        AddIndexConcurrently(
            model_name='chunk',
            index=models.Index(fields=['text_config'], name='chunk_text_config'),
        ),
        AddIndexConcurrently(
            model_name='event',
            index=models.Index(fields=['-created_at', '-id'], name='event_newest'),
        ),
        AddIndexConcurrently(
            model_name='event',
            index=models.Index(fields=['name', '-created_at'], name='event_name'),
        ),
        AddIndexConcurrently(
            model_name='event',
            index=models.Index(condition=models.Q(('key__isnull', False)), fields=['key'], name='event_key', opclasses=['varchar_pattern_ops']),
        ),
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(condition=models.Q(('state', 'running')), fields=['id'], name='run_leased'),
        ),
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(condition=models.Q(('state', 'completed'), _negated=True), fields=['state', '-created_at'], name='run_state'),
        ),
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(fields=['-created_at', '-id'], name='run_newest'),
        ),
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(fields=['function', '-created_at'], name='run_function'),
        ),
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(condition=models.Q(('error_code', ''), _negated=True), fields=['error_code', '-created_at'], name='run_error_code'),
        ),
        AddIndexConcurrently(
            model_name='video',
            index=models.Index(fields=['-created_at', '-id'], name='video_newest'),
        ),
    ]

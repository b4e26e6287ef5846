import django.db.models.functions.text
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('videos', '0019_passages'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='segment',
            index=models.Index(django.db.models.functions.text.Upper('speaker'), models.F('transcript'), condition=models.Q(('speaker', ''), _negated=True), name='segment_speaker'),
        ),
    ]

"""All migrations at once make what they make one by one, also where some were made before."""

import os
import subprocess
import sys

import psycopg
import pytest
from django.db import connection
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader

from tests.conftest import PROJECT, empty_database
from tests.environment import clean

UPGRADE = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

one_by_one = MigrationExecutor(connection)
one_by_one.loader = MigrationLoader(connection, replace_migrations=False)
one_by_one.migrate([("videos", %r)])
call_command("migrate", verbosity=0)
call_command("migrate", check_unapplied=True)
"""
#: What a database has, however its tables came about: the order of their columns may differ.
SCHEMA = """
    SELECT table_name || '.' || column_name || ' ' || data_type,
        is_nullable || coalesce(column_default, '')
    FROM information_schema.columns WHERE table_name LIKE 'videos_%'
    UNION ALL
    SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'videos_%'
    UNION ALL
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid::regclass::text LIKE 'videos_%'
    UNION ALL
    SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
"""


@pytest.mark.django_db
def test_models_are_the_same_all_at_once_and_one_by_one():
    loader = MigrationLoader(connection, replace_migrations=False)
    one_by_one, at_once = (
        loader.project_state([("videos", name)])
        for name in ("0030_usage_until", "0001_squashed_0030_usage_until")
    )

    assert "videos" not in MigrationAutodetector(one_by_one, at_once).changes(loader.graph)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("release", ["0001_initial", "0025_refused_keys", "0030_usage_until"])
def test_a_database_of_an_earlier_release_becomes_what_a_new_one_is(release):
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        new = set(cursor.fetchall())
    with empty_database("earlier_release") as address:
        environment = clean(dict(os.environ)) | {
            "DJANGO_SETTINGS_MODULE": "chronos.settings",
            "DATABASE_URL": address,
        }
        script = [sys.executable, "-c", UPGRADE % release]
        done = subprocess.run(
            script, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
        )
        with psycopg.connect(address) as upgraded:
            found = set(upgraded.execute(SCHEMA).fetchall())

    assert done.returncode == 0, done.stderr
    assert len(new) > 300
    assert found == new

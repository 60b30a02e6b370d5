"""The test database as the migrations left it, after every test that commits.

Django's own flush truncates some sixty tables and the ledger's partitions and makes every content type and permission
anew: a seventh of a second a test, and the roles that a migration makes are gone afterwards. Here rows are deleted, and
what the migrations had put there is put back.
"""

from typing import Any

from django.db import connection
from django.test import TransactionTestCase

# Deferred checks, the outboxes' triggers and the books that may not be changed: none of them is asked.
_FUNCTION = """
CREATE FUNCTION as_migrated.restore() RETURNS void LANGUAGE plpgsql SET session_replication_role = replica AS $$
DECLARE
    name text;
    differs boolean;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    LOOP
        IF to_regclass(format('as_migrated.%I', name)) IS NULL THEN
            EXECUTE format('DELETE FROM public.%I', name);
            CONTINUE;
        END IF;
        EXECUTE format(
            'SELECT EXISTS (TABLE public.%1$I EXCEPT TABLE as_migrated.%1$I)'
            ' OR EXISTS (TABLE as_migrated.%1$I EXCEPT TABLE public.%1$I)', name
        ) INTO differs;
        IF differs THEN
            EXECUTE format('DELETE FROM public.%I', name);
            EXECUTE format('INSERT INTO public.%1$I TABLE as_migrated.%1$I', name);
        END IF;
    END LOOP;
END $$
"""


def remember() -> None:
    """Keep a copy of what the migrations put there, and let tests that commit end by `restore`."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA as_migrated")
        for name in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT EXISTS (SELECT FROM "{name}")')
            [holds_rows] = cursor.fetchone()
            if holds_rows:
                cursor.execute(f'CREATE TABLE as_migrated."{name}" AS TABLE "{name}"')
        cursor.execute(_FUNCTION)
    TransactionTestCase._fixture_teardown = _restore  # type: ignore[attr-defined] # private, so not in the stubs


def _restore(case: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT as_migrated.restore()")

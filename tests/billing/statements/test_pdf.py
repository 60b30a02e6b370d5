"""A statement as PDF."""

import re
import zlib
from datetime import UTC, datetime

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from billing.models import Statement
from billing.statements.closing import close_due
from billing.statements.pdf import statement_pdf
from billing.usage import COUNTS
from tests.billing.statements.test_closing import tenant as tenant  # a fixture
from tests.billing.statements.test_closing import used
from tests.billing.statements.test_closing import written as written  # a fixture
from tests.factories import (
    StatementFactory,
    TenantFactory,
)

pytestmark = pytest.mark.django_db


def test_the_pdf_is_the_same_file_every_time(tenant):
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1.25", model="sonnet")
    close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))
    file = statement_pdf(Statement.objects.get())
    assert file.startswith(b"%PDF-")
    assert file == statement_pdf(Statement.objects.get())


def test_a_pdf_takes_names_of_europes_alphabets_and_as_many_pages_as_it_needs(caplog):
    line = {
        **dict.fromkeys(COUNTS, 10**9),
        "requests": 10**6,
        "cost_usd": "12345.678",
        "period_start": "2026-01-01",
    }
    lines = [{**line, "model": f"model-{n}", "key_name": "Ключ"} for n in range(100)]
    tenant = TenantFactory(name="Łódź Ελλάς Київ")
    file = statement_pdf(StatementFactory(tenant=tenant, lines=lines, late_lines=lines[:3]))
    assert file.count(b"/Type /Page\n") > 2
    assert "missing" not in caplog.text


def a_font(path, letters):
    """A font file that has these letters, all of them squares."""
    names = {ord(letter): f"u{ord(letter):X}" for letter in letters}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    pen = TTGlyphPen(None)
    for corner in ((0, 0), (0, 800), (800, 800), (800, 0)):
        (pen.lineTo if pen.points else pen.moveTo)(corner)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyf(dict.fromkeys([".notdef", *names.values()], square))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def letters_of(file: bytes) -> str:
    """What the PDF's fonts say their glyphs stand for: what a reader copies or searches."""
    streams = [each.split(b"endstream")[0].strip(b"\r\n") for each in file.split(b"stream\n")]
    texts = [zlib.decompress(each) if each.startswith(b"x\x9c") else each for each in streams]
    codes = b"".join(text for text in texts if b"beginbfchar" in text)
    return "".join(chr(int(code, 16)) for code in re.findall(rb"<\w{4}> <(\w{4})>\n", codes))


BOX = "Characters that this file's fonts do not have appear as boxes. The CSV has the full names."


def test_a_pdf_says_that_its_font_lacks_a_script(written):
    statement_pdf(StatementFactory(tenant=TenantFactory(name="株式会社")))

    assert BOX in written


def test_a_pdf_sets_what_its_font_lacks_in_the_operators(written, settings, tmp_path):
    settings.STATEMENT_FONT = a_font(tmp_path / "squares.ttf", "株式会社")

    file = statement_pdf(StatementFactory(tenant=TenantFactory(name="株式会社")))

    assert set("株式会社") <= set(letters_of(file))
    assert BOX not in written


def test_a_pdf_says_what_the_operators_font_lacks_too(written, settings, tmp_path):
    settings.STATEMENT_FONT = a_font(tmp_path / "squares.ttf", "株式")

    statement_pdf(StatementFactory(tenant=TenantFactory(name="株式会社")))

    assert BOX in written


def test_a_pdf_that_lacks_nothing_says_nothing(written):
    statement_pdf(StatementFactory(tenant=TenantFactory(name="Łódź")))

    assert BOX not in written

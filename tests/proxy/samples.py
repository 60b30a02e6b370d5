"""Texts of many kinds, long enough to see how many tokens a byte of them counts."""

import base64
import hashlib
import json


def _noise(size: int) -> bytes:
    """Bytes that no compression helps, the same ones every time."""
    return b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(size // 32))


_PROSE = """A tenant's request is authenticated, parsed and routed; before anything is sent, the worst it can cost is
reserved against every budget that applies, and when the answer has passed, the reservation becomes what it did
cost. Nobody is cut off while something cheaper would do: the gateway first takes the model that was asked for, then
the cheaper one its owner named, then fewer tokens, and only then says no, in words that tell what to do next. """

_CODE = '''async def admitted(call: Call, parsed: Parsed, principal: Principal, *, billed: bool = True) -> Charge:
    """The call with a lease, under the policy in force now; a policy found stale is read again."""
    for _ in range(MOST_RELOADS):
        try:
            plan = await plan_of(call, parsed, principal, billed=billed)
            return await _admit(call, plan, billed=billed)
        except StalePolicy:
            principal = await refresh(principal, call.headers)
    raise PolicyUnavailable
'''

_MINIFIED = (
    'var e=t.getContext("2d"),n=0;function r(i,o){return i&&o?i.x*o.y-i.y*o.x:0}for(;n<a.length;++n)'
    "{if(a[n].v!==b[n].v)throw new Error(`#${n}`);c.push([a[n].k,~~(255*a[n].v)])}window._q=_q||[];"
)

_SQL = """SELECT t.slug, date_trunc('day', u.created_at) AS day, sum(u.cost_usd) AS usd FROM billing_usagerecord u
JOIN tenants_tenant t ON t.id = u.tenant_id WHERE u.created_at >= now() - interval '30 days' AND u.status <> 'ok'
GROUP BY 1, 2 HAVING sum(u.cost_usd) > 0.000001 ORDER BY usd DESC NULLS LAST LIMIT 100;
"""

_JSON = json.dumps(
    [
        {
            "id": 1000 + n,
            "email": f"user{n}@example.com",
            "active": n % 2 == 0,
            "score": n / 7,
            "tags": ["a", "b"],
        }
        for n in range(60)
    ]
)

_LANGUAGES = {
    "German": "Künstliche Intelligenz verändert die Welt. Viele Unternehmen möchten große Sprachmodelle anbinden. ",
    "Finnish": "Tekoäly muuttaa maailmaa. Monet yritykset haluavat liittää suuria kielimalleja tuotteisiinsa. ",
    "Turkish": "Yapay zekâ dünyayı değiştiriyor. Birçok şirket büyük dil modellerini ürünlerine bağlamak istiyor. ",
    "Vietnamese": "Trí tuệ nhân tạo đang thay đổi thế giới. Nhiều công ty muốn kết nối các mô hình ngôn ngữ lớn. ",
    "Russian": "Искусственный интеллект меняет мир. Многие компании хотят подключить большие языковые модели. ",
    "Greek": "Η τεχνητή νοημοσύνη αλλάζει τον κόσμο. Πολλές εταιρείες θέλουν να συνδέσουν γλωσσικά μοντέλα. ",
    "Hebrew": "בינה מלאכותית משנה את העולם. חברות רבות רוצות לחבר מודלי שפה גדולים למוצרים שלהן. ",
    "Arabic": "الذكاء الاصطناعي يغير العالم. تريد العديد من الشركات ربط نماذج اللغة الكبيرة بمنتجاتها. ",
    "Hindi": "कृत्रिम बुद्धिमत्ता दुनिया को बदल रही है। कई कंपनियाँ बड़े भाषा मॉडल को जोड़ना चाहती हैं। ",
    "Thai": "ปัญญาประดิษฐ์กำลังเปลี่ยนแปลงโลก หลายบริษัทต้องการเชื่อมต่อโมเดลภาษาขนาดใหญ่ ",
    "Burmese": "ဉာဏ်ရည်တုသည် ကမ္ဘာကို ပြောင်းလဲနေသည်။ ကုမ္ပဏီများစွာသည် ချိတ်ဆက်လိုကြသည်။ ",
    "Georgian": "ხელოვნური ინტელექტი ცვლის მსოფლიოს. ბევრ კომპანიას სურს ენობრივი მოდელების დაკავშირება. ",
    "Amharic": "ሰው ሰራሽ አስተውሎት ዓለምን እየቀየረ ነው። ብዙ ኩባንያዎች ትልልቅ የቋንቋ ሞዴሎችን ማገናኘት ይፈልጋሉ። ",
    "Chinese": "人工智能正在改变世界，许多公司希望把大型语言模型接入自己的产品，同时控制每个客户的费用。",
    "Japanese": "人工知能は世界を変えつつあります。多くの企業が大規模言語モデルを自社製品に組み込みたいと考えています。",  # noqa: E501 - wide characters
    "Korean": "인공지능이 세상을 바꾸고 있습니다. 많은 기업이 대규모 언어 모델을 제품에 연결하고 싶어 합니다. ",
}

# What people and programs send. The bound must hold for each of them.
REAL = {
    "English prose": _PROSE * 12,
    "Python": _CODE * 12,
    "minified JavaScript": _MINIFIED * 24,
    "SQL": _SQL * 14,
    "JSON": _JSON,
    "JSON, compact": json.dumps(
        [{"id": n, "n": n * 7919 % 10**6} for n in range(250)], separators=(",", ":")
    ),
    "numbers": json.dumps([n / 7919 for n in range(1, 300)]),
    "UUIDs": "\n".join(hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(150)),
    "hexadecimal": _noise(2500).hex(),
    "base64": base64.b64encode(_noise(3600)).decode(),
    "punctuation": "{}[](),.;:!?<>/\\|@#$%^&*-_=+~`'\" " * 140,
    "emoji": "😀🎉👩‍👩‍👧‍👦🇩🇪👍🏽🔥✨❤️🚀🤷‍♀️🧑🏿‍💻🥹🫶🏼🪿 " * 40,
    "mathematics": "∀x∈ℝ: ∑ᵢ₌₁ⁿ xᵢ² ≥ 0 ⇒ √(x²+y²) ≤ |x|+|y|, ∂f/∂x ≈ ∇·F ⊗ ℏ " * 50,
    "tables drawn with lines": "┌──┬──┐\n│ a │ b │\n├──┼──┤\n└──┴──┘\n" * 70,
    **{name: text * 40 for name, text in _LANGUAGES.items()},
}

# What nobody writes: here the bound can be passed, and the docs say so.
NOISE = {
    "lower-case letters at random": "".join(chr(97 + byte % 26) for byte in _noise(5000)),
    "Chinese characters at random": "".join(
        chr(0x4E00 + (a * 256 + b) % 20_000)
        for a, b in zip(_noise(3200)[::2], _noise(3200)[1::2], strict=True)
    ),
}

# What they count in Claude's published vocabulary, as `tests.proxy.dialects.measure_prompt_bounds` prints it: the
# package that ships it has no wheels for every machine, so it is no part of what the suite needs.
CLAUDE_TOKENS = {
    "English prose": 1153,
    "Python": 1512,
    "minified JavaScript": 2640,
    "SQL": 1554,
    "JSON": 2451,
    "JSON, compact": 2383,
    "numbers": 3101,
    "UUIDs": 2954,
    "hexadecimal": 2878,
    "base64": 3332,
    "punctuation": 2801,
    "emoji": 2800,
    "mathematics": 2701,
    "tables drawn with lines": 2380,
    "German": 1241,
    "Finnish": 1521,
    "Turkish": 1921,
    "Vietnamese": 2681,
    "Russian": 1961,
    "Greek": 4321,
    "Hebrew": 2761,
    "Arabic": 3041,
    "Hindi": 4121,
    "Thai": 5361,
    "Burmese": 3161,
    "Georgian": 4521,
    "Amharic": 7120,
    "Chinese": 1680,
    "Japanese": 2200,
    "Korean": 2281,
}

# ruff: noqa: RUF001 (look-alike characters are what these texts are made of)
"""Texts of our own writing that prove a bundle on whatever machine loads it.

Harmless, and chosen for what can go wrong on the way from text to answer: scripts, emoji, combining marks, things
that are not seen, placeholders, entities, case, length. They avoid characters that Unicode assigned late, which
two runtimes may normalise differently.
"""

from typing import Final

_CALM: Final = (
    "The library opens at nine and closes at six. On the ground floor there are newspapers, maps and a small café. "
    "The children's room is on the second floor, beside the garden, and a story is read there every Wednesday. "
)
_ANGRY: Final = (
    "I have had enough of this nonsense! What a stupid, pathetic idea, only a complete fool would build it like that. "
    "Shut up and stop wasting our time, you clown, nobody wants to hear this rubbish any more! "
)

_SHORT: Final[tuple[str, ...]] = (
    # Plain, in tones from kind to cross.
    "Thank you so much, that was very kind of you.",
    "The train to the coast leaves at half past seven from platform two.",
    "What a lovely photograph of the two dogs in the snow!",
    "I disagree with you, but I see what you mean.",
    "This is the worst film I have seen all year, honestly a disgrace.",
    "You are a fool and everybody here knows it.",
    "Shut up, you absolute clown, nobody asked you.",
    "they are all idiots and they should be ashamed of themselves",
    "STOP SHOUTING AT ME!!!",
    "ok",
    "a",
    # Placeholders, mentions, links and numbers, in the data sets' form and as people write them.
    "@USER @USER you should read this before you vote URL",
    "<user> told <user> about <number> new houses <url>",
    "@maria_77 have you seen https://example.org/a/b?c=d&e=f#g yet? It costs 12.50 now",
    "see www.example.com or HTTP://EXAMPLE.COM/PATH, and write to @someone@mastodon.example.org",
    "meet me at 10:30 on 2024-05-17, room 101, or call 555-0199",
    "email me: first.last@example.org (not @ work)",
    # Entities and markup.
    "Fish &amp; chips &lt;3 &quot;best in town&quot; &#39;really&#39; &nbsp; ok",
    "&amp;amp; stays half escaped, &unknown; stays as it is",
    "<b>bold</b> claims need <i>strong</i> proof",
    # Apostrophes and punctuation.
    "don't can't won't I'll they've she'd we're it's",
    "don’t you think it’s ‘quoted’ “speech” – or — so…",
    "don ' t split what ’ s joined",
    "...!?!?... ;-) :-( ^_^ #hash_tag $5 100% a/b\\c [x] {y} ~z~ `code`",
    # Case and width.
    "ＦＵＬＬ ｗｉｄｔｈ ｔｅｘｔ １２３",
    "ﬁne ﬂow of ligatures, ① ② ③, ½ cup, x² + y²",
    "İstanbul ve ığdır, straße und STRASSE, ΣΊΣΥΦΟΣ",
    # Combining marks.
    "café and cafe\u0301 are the same word, so are na\u00efve and nai\u0308ve",
    "z\u0351\u036b\u0343a\u0300\u0301\u0302l\u0334g\u0335o\u0336 text",
    # Scripts.
    "Сегодня хорошая погода, пойдём гулять в парк.",
    "今天天气很好，我们去公园散步吧。",
    "今日は天気がいいので、公園を散歩しましょう。",
    "오늘은 날씨가 좋으니 공원에 산책하러 가자.",
    "الطقس جميل اليوم، هيا نذهب إلى الحديقة.",
    "היום מזג האוויר נעים, בוא נלך לפארק.",
    "आज मौसम अच्छा है, चलो पार्क में टहलने चलते हैं।",
    "วันนี้อากาศดี ไปเดินเล่นในสวนกันเถอะ",
    "Σήμερα ο καιρός είναι καλός, πάμε βόλτα.",
    "Das Wetter ist schön, wir gehen über die Brücke spazieren.",
    "Mañana iré al mercado, ¿quieres venir? ¡Será divertido!",
    "mixing English с русским и 中文 in one line",
    # Emoji: plain, with skin tone, joined, flags, keycaps.
    "so happy 😀😀😂❤️",
    "👍🏽 family 👨‍👩‍👧‍👦 flag 🇩🇪 keycap 1️⃣",
    # Things that are not seen, between letters and around them.
    "in\u200bvis\u200dible\ufeff le\u00adtters \u202eand\u202c marks\u2060",
    "tabs\tand\nnew lines\r\nand\u00a0hard\u2003spaces   together",
    # Not a word of any vocabulary.
    "asdfqwer zxcvuiop hjkl" * 2,
    "a" * 120,
    # Refused.
    "",
    "   \t\n\u00a0\u3000  ",
    "\u200b\u200d\ufeff\u00ad",
    "\ufe0f\u2060\u200e",
    "half of a pair \ud83d here",
    "\udc00",
)


def golden_texts(max_tokens: int) -> tuple[str, ...]:
    """All golden texts for a model that reads ``max_tokens`` at once; the last ones are longer than that."""
    # A word is at least one token, so these many words never fit one window.
    words = max_tokens + 1
    mixed = " ".join((_CALM * 2 + _ANGRY + _CALM).split())
    return (
        *_SHORT,
        # Every window the same, so which of them decides cannot matter.
        "river " * words,
        _repeat(_CALM, words),
        _repeat(mixed, 2 * words),
        "一二三四五六七八九十" * (words // 8),
    )


def _repeat(text: str, words: int) -> str:
    source = text.split()
    return " ".join(source[i % len(source)] for i in range(words))

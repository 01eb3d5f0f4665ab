"""Which language a PMS means: codes of two and three letters, cultures, and names as people type them. Pure.

A code that is no language of ISO 639-1 and no known way of writing one is none: a wrong guess is worse than the
house's own language.
"""

import re
from typing import Final

CHARACTERS_MOST: Final = 64
CODE_CHARACTERS_MOST: Final = 3
_TWO_LETTERS: Final = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv "
    "ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne "
    "ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
"""ISO 639-1."""
_CODES: Final = frozenset(_TWO_LETTERS.split())
_WRITTEN: Final[dict[str, tuple[str, ...]]] = {
    "ar": ("ara", "arabic", "العربية"),
    "bg": ("bul", "bulgarian", "български"),
    "ca": ("cat", "catalan", "català"),
    "cs": ("ces", "cze", "czech", "čeština"),
    "da": ("dan", "danish", "dansk"),
    "de": ("deu", "ger", "ge", "german", "deutsch"),
    "el": ("ell", "gre", "greek", "ελληνικά"),
    "en": ("eng", "e", "ea", "english", "englisch"),
    "es": ("spa", "sp", "spanish", "español", "espanol", "castellano"),
    "et": ("est", "estonian", "eesti"),
    "fi": ("fin", "finnish", "suomi"),
    "fr": ("fra", "fre", "french", "français", "francais"),
    "he": ("heb", "iw", "hebrew", "עברית"),
    "hi": ("hin", "hindi", "हिन्दी"),
    "hr": ("hrv", "croatian", "hrvatski"),
    "hu": ("hun", "hungarian", "magyar"),
    "id": ("ind", "in", "indonesian", "bahasa indonesia"),
    "is": ("isl", "ice", "icelandic", "íslenska"),
    "it": ("ita", "italian", "italiano"),
    "ja": ("jpn", "japanese", "日本語"),
    "ko": ("kor", "korean", "한국어"),
    "lt": ("lit", "lithuanian", "lietuvių"),
    "lv": ("lav", "latvian", "latviešu"),
    "nb": ("nob",),
    "nl": ("nld", "dut", "dutch", "nederlands"),
    "no": ("nor", "norwegian", "norsk"),
    "pl": ("pol", "polish", "polski"),
    "pt": ("por", "portuguese", "português", "portugues"),
    "ro": ("ron", "rum", "romanian", "română"),
    "ru": ("rus", "russian", "русский"),
    "sk": ("slk", "slo", "slovak", "slovenčina"),
    "sl": ("slv", "slovenian", "slovene", "slovenščina"),
    "sr": ("srp", "serbian", "српски"),
    "sv": ("swe", "swedish", "svenska"),
    "th": ("tha", "thai", "ไทย"),
    "tr": ("tur", "turkish", "türkçe"),
    "uk": ("ukr", "ukrainian", "українська"),
    "vi": ("vie", "vietnamese", "tiếng việt"),
    "yi": ("yid", "ji", "yiddish"),
    "zh": ("zho", "chi", "chinese", "中文"),
}
"""ISO 639-2 of both kinds, what ISO 639 called so before, names in English and in the language itself; of German,
English and Spanish also what OPERA and its family ship with (design page pms.md B.6, `GL`; Oracle's own examples of a
profile have `"language": "E"`).
"""
_LANGUAGE: Final = {word: code for code, words in _WRITTEN.items() for word in words}
_PARTED: Final = re.compile(r"[-_(,;/]")
_LETTERS_AND_REGION: Final = re.compile(r"[a-z]{2,3} [a-z]{2}")


def language(told: object) -> str | None:
    """Return BCP 47's primary language, lower case, of what a PMS tells; None: it tells none that anybody knows."""
    if not isinstance(told, str) or len(told) > CHARACTERS_MOST:
        return None
    word = told.strip().casefold()
    first = _PARTED.split(word, maxsplit=1)[0].strip()  # of de-DE, de_DE, German (Austria)
    name = first.partition(" ")[0]  # of German Austria
    if len(name) <= CODE_CHARACTERS_MOST and _LETTERS_AND_REGION.fullmatch(first) is None:
        name = first  # "no preference" is not Norwegian, nor "in English" Indonesian
    for each in (word, first, name):
        if each in _LANGUAGE or each in _CODES:
            return _LANGUAGE.get(each, each)
    return None

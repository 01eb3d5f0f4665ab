"""Names: written into the zone, and compared as a receptionist compares them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInputError
from protocols.travel_document.names import Agreement, agreement, together, transcribed

Name = tuple[str, str]


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("Müller-Lüdenscheidt", "MUELLER<LUEDENSCHEIDT"),
        ("Þórsdóttir", "THORSDOTTIR"),
        ("O’Connor", "OCONNOR"),
        ("Ångström", "AANGSTROEM"),
        ("Groß", "GROSS"),
        ("Łukasz Żółć", "LUKASZ<ZOLC"),
        ("Nguyễn Văn", "NGUYEN<VAN"),
        ("d'Arc, Jeanne", "DARC<JEANNE"),
        ("İpek", "IPEK"),
    ],
)
def test_names_are_transcribed_as_documents_do(name: str, want: str) -> None:
    assert transcribed(name) == want


@pytest.mark.parametrize("name", ["Иванов", "王小明", "R2", "a\x00b"])
def test_what_has_no_transcription_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInputError, match="no transcription"):
        transcribed(name)


def test_a_name_alone_has_no_second_part() -> None:
    assert (together("Arkfreith", ""), together("Eriksson", "Anna Maria")) == ("ARKFREITH", "ERIKSSON<<ANNA<MARIA")


@pytest.mark.parametrize(
    ("document", "reservation"),
    [
        (("MUELLER", "HANS"), ("Müller", "Hans")),
        (("MULLER", "HANS"), ("Müller", "Hans")),
        (("ERIKSSON", "ANNA MARIA"), ("Eriksson", "Anna")),
        (("ERIKSSON", "ANNA MARIA"), ("eriksson", "Maria Anna")),
        (("GARCIA LOPEZ", "JOSE"), ("García", "José")),
        (("ERIKSSON", "ANNAMARIA"), ("Eriksson", "Anna Maria")),
        (("OCONNOR", "SEAN"), ("O'Connor", "Seán")),
    ],
)
def test_the_same_person(document: Name, reservation: Name) -> None:
    assert agreement(document, reservation) is Agreement.SAME


@pytest.mark.parametrize(
    ("document", "reservation", "truncated"),
    [
        (("ERIKSSON", "ANNA"), ("Erikson", "Anna"), False),
        (("MUELLER", "HANS"), ("Muller", "Hans"), False),
        (("ERIKSSON", "ANNA"), ("Anna", "Eriksson"), False),
        (("ERIKSSON", ""), ("Eriksson", "Anna"), False),
        (("WOLKENSTEIN", "JON"), ("Wolkenstein", "Jonathon"), True),
        (("SCHMIDT", "PETER"), ("Schmitd", "Peter"), False),
    ],
)
def test_somebody_should_look(document: Name, reservation: Name, truncated: bool) -> None:
    assert agreement(document, reservation, truncated=truncated) is Agreement.SIMILAR


@pytest.mark.parametrize(
    ("document", "reservation"),
    [
        (("ERIKSSON", "ANNA"), ("Stevenson", "Anna")),
        (("LEE", "ANN"), ("Lea", "Ann")),
        (("WOLKENSTEIN", "JON"), ("Wolkenstein", "Jonathon")),
        (("IVANOV", "IVAN"), ("Иванов", "Иван")),
        (("ERIKSSON", "ANNA"), ("Eriksson", "Peter")),
    ],
)
def test_another_person(document: Name, reservation: Name) -> None:
    assert agreement(document, reservation) is Agreement.DIFFERENT


_name = st.text("ABCÄÖüßéñ -'", max_size=12)


@given(_name, _name, _name, _name)
def test_comparing_has_no_sides_and_everybody_is_themselves(a: str, b: str, c: str, d: str) -> None:
    assert agreement((a, b), (c, d)) is agreement((c, d), (a, b))
    assert agreement((a, b), (a, b)) is Agreement.SAME

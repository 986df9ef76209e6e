"""Every line is exactly as wide as it has to be, whatever it says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from regfs.browse.drawing import LineLook, draw_details, draw_heading, draw_line, fitted
from regfs.browse.places import Line, LineColumn, Standing

TEXTS = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("漢字e\u0301\x1b[]m\u202e")))
COLUMNS = (LineColumn("Tags", 6, 50, right=True), LineColumn("漢字", 4))
LINES = st.builds(
    Line,
    name=TEXTS,
    size=st.none() | st.integers(0, 2**63),
    standing=st.sampled_from(Standing),
    cells=st.tuples(TEXTS, TEXTS),
    aside=TEXTS,
    faint=st.booleans(),
)


@given(LINES, st.integers(1, 200), st.booleans(), st.booleans(), st.integers(0, 2**63))
def test_a_line_fills_its_width_and_no_more(
    line: Line, width: int, marked: bool, sized: bool, largest: int
) -> None:
    look = LineLook(COLUMNS, sized=sized, largest=largest)
    segments = draw_line(line, look, width, marked=marked, selected=marked)
    text = "".join(segment.text for segment in segments)
    assert cell_len(text) == width
    assert not any(ord(one) < 32 or ord(one) == 127 for one in text)
    assert cell_len(draw_heading(look, width)) == width


@given(TEXTS, TEXTS, st.integers(20, 120))
def test_details_fold_and_lose_nothing(label: str, text: str, width: int) -> None:
    drawn = draw_details((("Label", text),), width)
    lines = drawn.split("\n")
    assert all(cell_len(line) <= width for line in lines)
    shown = "".join(line[15:] for line in lines)
    from regfs.render.tables import printable

    assert shown.replace(" ", "") == printable(text).replace(" ", "")


def test_what_is_cut_says_so() -> None:
    assert fitted("my-busybox", 6) == "my-bu…"
    assert fitted("漢字漢字", 4) == "漢 …"
    assert fitted("app", 5) == "app  "


def test_bars_are_in_proportion() -> None:
    look = LineLook((), sized=True, largest=1000)

    def bar(size: int | None) -> str:
        segments = draw_line(Line("x", size), look, 80, marked=False, selected=False)
        return "".join(segment.text for segment in segments)[12:25]

    assert bar(1000) == "[##########] "
    assert bar(500) == "[#####     ] "
    assert bar(0) == "[          ] "
    assert bar(None).strip() == ""

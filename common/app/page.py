"""The page: what is asked for on the left, the result on the right. Streamlit runs `show_page` at every change."""

import html
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import streamlit as st

from common.app.examples import find_examples
from common.app.models import Model, find_models
from common.app.work import (
    Result,
    Settings,
    SharedSegmenter,
    downloads_of,
    draw,
    for_the_screen,
    keep,
    read_upload,
    side_by_side,
)
from common.data.card import DatasetCard
from common.data.masks import SUFFIXES
from common.engines.programs import PROGRAMS
from common.errors import LONGEST_MESSAGE, UserError, printable
from common.export.choice import AUTO, TENSORFLOW
from common.inference.prediction import class_shares

OWN, FASTEST = "The model's own", "The fastest that is prepared"
STRIDES = {OWN: None, "8": 8, "16": 16, "32": 32}
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
MOST_OPEN = 4  # networks that stay in the memory
NO_MODELS = (
    "There are no weights on this disk yet. `make demo` fetches some, `make weights` lists others, and "
    "`make reproduce-v3plus` trains some on drawn pictures. Then load this page again."
)
TALLEST, MOST_ENLARGED = 640, 3  # pixels of a picture on the page, and how many times its own size
STYLE = """<style>
.stMainBlockContainer { padding-top: 2rem; padding-bottom: 3rem; }
.stMainBlockContainer h1 { padding: 0 0 .5rem; font-size: 1.75rem; }
.classes { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin-bottom: .5rem; }
.classes i { display: inline-block; width: .9em; height: .9em; margin-right: .4em; border: 1px solid #8888;
             border-radius: 3px; vertical-align: -.1em; }
</style>"""


@dataclass(frozen=True)
class Request:
    """The picture, one or two models, and how they are to segment it."""

    name: str
    picture: np.ndarray
    models: tuple[Model, ...]
    settings: Settings

    def key(self) -> tuple[object, ...]:
        """Equal for equal requests: pictures of one name are told apart by their bytes."""
        return self.name, self.picture.shape, hash(self.picture.tobytes()), self.models, self.settings


@dataclass(frozen=True)
class Answer:
    """The results of a request, one for each model."""

    request: Request
    results: tuple[Result, ...]


def show_page() -> None:
    """Show the page as it is now."""
    st.set_page_config(page_title="DeepLab", layout="wide")
    st.html(STYLE)
    st.title("Segment a picture", anchor=False)
    models = find_models()
    if not models:
        st.info(NO_MODELS)
        return
    left, right = st.columns([7, 13], gap="medium")
    with left:
        request = _ask(models)
        st.button("Segment", on_click=_want, type="primary", width="stretch", disabled=request is None)
    with right:
        _answer(request)


def _want() -> None:
    """Remember that the button was pressed: another change of the page stops the run that the button began."""
    st.session_state["is_wanted"] = True


def _ask(models: Mapping[str, Model]) -> Request | None:
    """The controls; None while they do not make a request."""
    given = _ask_picture()
    titles = [st.selectbox("Model", list(models))]
    if st.toggle("Compare with a second model", disabled=len(models) < 2):
        titles.append(st.selectbox("Second model", [title for title in models if title != titles[0]]))
    chosen = tuple(models[title] for title in titles)
    settings = _ask_settings(chosen)
    return Request(*given, chosen, settings) if given else None


def _ask_picture() -> tuple[str, np.ndarray] | None:
    examples = find_examples()
    upload = st.file_uploader("Your picture", [suffix.removeprefix(".") for suffix in SUFFIXES])
    name = st.radio("or an example", list(examples), horizontal=True, disabled=upload is not None)
    try:
        return (upload.name, _pixels(upload.name, upload.getvalue())) if upload else (name, examples[name]())
    except UserError as error:
        _complain(error)
        return None


@st.cache_data(max_entries=4, show_spinner=False)
def _pixels(name: str, data: bytes) -> np.ndarray:
    return read_upload(name, data)


def _ask_settings(models: Sequence[Model]) -> Settings:
    with st.expander("Settings"):
        engines = {found.title: name for name, found in PROGRAMS.items() if found.is_installed}
        engines = {FASTEST: None, "TensorFlow": TENSORFLOW, **engines, "All compared, the fastest taken": AUTO}
        stride = OWN
        if any(model.has_strides for model in models):
            stride = st.selectbox("Output stride", list(STRIDES))
        return Settings(
            output_stride=STRIDES[stride],
            scales=tuple(sorted(st.multiselect("Scales", SCALES, placeholder=OWN))),
            flip=st.checkbox("Fuse with the mirrored picture"),
            crf=st.checkbox("Refine by the dense CRF"),
            engine=engines[st.selectbox("Engine", list(engines))],
        )


def _answer(request: Request | None) -> None:
    """Run what is asked for if that is wanted, and show the last answer, or the picture before there is one."""
    if request and st.session_state.get("is_wanted"):
        st.session_state.pop("answer", None)
        if results := _run(request):
            st.session_state["answer"] = Answer(request, results)
        st.session_state["is_wanted"] = False
    answer = st.session_state.get("answer")
    if answer is None:
        if request:
            _show_picture(for_the_screen(request.picture), request.name)
        return
    if request is None or answer.request.key() != request.key():
        now = "" if request is None else "; “Segment” runs what is chosen now"
        st.caption(f"This answers what was asked before{now}.")
    _show(answer)


def _run(request: Request) -> tuple[Result, ...]:
    """The results, or none after an error, which the page tells."""
    results = []
    for model in request.models:
        try:
            with st.spinner(f"Loading {_plain(model.title)}, and segmenting the picture", show_time=True):
                results.append(_opened(model, request.settings).segment(request.picture))
        except Exception as error:
            _complain(error)
            return ()
    return tuple(results)


@st.cache_resource(max_entries=MOST_OPEN, show_spinner=False)
def _opened(model: Model, settings: Settings) -> SharedSegmenter:
    """One segmenter for all who ask for the same."""
    return SharedSegmenter(model, settings)


def _complain(error: Exception) -> None:
    """Show an error as a sentence. Raises what is unforeseen where TRACEBACK is set."""
    if not isinstance(error, UserError) and os.environ.get("TRACEBACK"):
        raise error
    what = "" if isinstance(error, UserError) else f"unforeseen {type(error).__name__}: "
    st.error(_plain(what + printable(str(error), LONGEST_MESSAGE)))


def _plain(text: str) -> str:
    """The text with all that Markdown would take for its own escaped: names of files hold it."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~:$-])", r"\\\1", text)


def _show(answer: Answer) -> None:
    request, results = answer.request, answer.results
    first, second = st.columns(2, gap="medium")
    opacity = first.slider("Opacity of the classes (at 0 the picture)", 0, 100, 60, 5, format="%d %%") / 100
    kept = second.multiselect("Keep only", _found(results), placeholder="all classes")
    labels = [keep(result, kept) for result in results]
    drawn = [draw(request.picture, label, result.card, opacity) for result, label in zip(results, labels, strict=True)]
    if len(drawn) > 1:
        title, width = "Where the second model begins", _shown_width(drawn[0])
        border = st.slider(title, 0, 100, 50, format="%d %%", width=width) / 100
        _show_picture(side_by_side(*drawn, border), "left the first model's classes, right the second's")
    else:
        _show_picture(drawn[0], f"{request.name} with its classes")
    columns = st.columns(len(results), gap="medium")
    for column, model, result, label in zip(columns, request.models, results, labels, strict=True):
        with column:
            _show_facts(model, result)
            _show_downloads(request, model, result.card, label, kept)


def _show_picture(pixels: np.ndarray, words: str) -> None:
    st.image(pixels, alt=words, width=_shown_width(pixels))


def _shown_width(pixels: np.ndarray) -> int:
    """The width of a picture on the page, which makes it narrower where there is less room."""
    height, width = pixels.shape[:2]
    return max(1, round(width * min(TALLEST / height, MOST_ENLARGED)))


def _found(results: Sequence[Result]) -> list[str]:
    """The classes of all results, the largest first."""
    names = [result.card.classes[i] for result in results for i, _ in class_shares(result.label)]
    return list(dict.fromkeys(names))


def _show_facts(model: Model, result: Result) -> None:
    colour = _colours(result.card)
    items = [
        f'<span><i style="background: {colour(i)}"></i>{html.escape(result.card.classes[i])} {share:.1%}</span>'
        for i, share in class_shares(result.label)
    ]
    st.markdown(f"**{_plain(model.title)}**")
    st.html(f'<div class="classes">{"".join(items)}</div>')
    st.caption(_plain(f"{result.seconds:.2f} seconds. {result.engine}."))


def _colours(card: DatasetCard) -> Callable[[int], str]:
    return lambda i: "rgb({}, {}, {})".format(*card.palette[i])


def _show_downloads(request: Request, model: Model, card: DatasetCard, label: np.ndarray, kept: Sequence[str]) -> None:
    with st.container(horizontal=True, gap="small"):
        for ending, file in downloads_of(card, kept).items():
            st.download_button(
                file.title, partial(file.content, request.name, request.picture, label, card),
                f"{Path(request.name).stem}{ending}", file.mime, key=f"{model.path} {ending}", on_click="ignore",
                icon=":material/download:",
            )  # fmt: skip

"""Values become HTML: escaped, and without characters that hide text or change its direction."""

import importlib.resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ...runtime.dead import shown
from .. import words


def _template(name: str) -> str:
    return importlib.resources.files(__package__).joinpath("templates", name).read_text()


def _clean(value: Any) -> Any:
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_environment = Environment(
    loader=FunctionLoader(_template),
    autoescape=True,
    finalize=_clean,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
for _filter in (
    *(words.number, words.rate, words.duration, words.span, words.size),
    *(words.clock, words.iso, words.short),
):
    _environment.filters[_filter.__name__] = _filter
_environment.filters["item"] = shown


def html(template: str, **values: object) -> str:
    """The template of this name in templates/, with these values."""
    return _environment.get_template(template).render(values)

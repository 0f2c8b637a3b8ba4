"""Topics with names in braces: `plant/{hall}/{source}` stands for any text at those two levels, and gives it that name."""

from collections.abc import Mapping
from typing import NamedTuple

LEVELS_MAX = 32


class BadTopic(ValueError):
    """No topic that can be used. Says why, in words that follow the topic."""


class Pattern(NamedTuple):
    """The levels of a topic; `{name}` takes one level, `+` any one, `#` at the end all that follow."""

    levels: tuple[str, ...]

    @property
    def filter(self) -> str:
        """As an MQTT broker is asked for it."""
        return "/".join("+" if _name(level) else level for level in self.levels)

    @property
    def names(self) -> list[str]:
        return [name for level in self.levels if (name := _name(level))]

    @property
    def is_plain(self) -> bool:
        """Whether it is one topic and no other."""
        return not self.names and not {"+", "#"} & set(self.levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """What stands where names are; None for another topic."""
        given = topic.split("/")
        if self.levels[-1] == "#":
            if len(given) < len(self.levels) - 1:
                return None
        elif len(given) != len(self.levels):
            return None
        found: dict[str, str] = {}
        for level, text in zip(self.levels, given, strict=False):
            if level == "#":
                break
            if name := _name(level):
                if not text:
                    return None
                found[name] = text
            elif level not in ("+", text):
                return None
        return found


def pattern(text: str) -> Pattern:
    """Reads one. Raises BadTopic."""
    levels = tuple(text.split("/"))
    if not text or "\0" in text or len(levels) > LEVELS_MAX:
        raise BadTopic(f"is empty, or has more than {LEVELS_MAX} levels")
    for place, level in enumerate(levels):
        if level == "#" and place + 1 != len(levels):
            raise BadTopic("has # before its end")
        if not _name(level) and level not in ("+", "#") and set("+#{}") & set(level):
            raise BadTopic("has a level that is neither plain text nor one name in braces")
    made = Pattern(levels)
    if len(set(made.names)) != len(made.names):
        raise BadTopic("has a name twice")
    if levels[0] == "$share":
        raise BadTopic("is shared between readers, and then samples of one source would lose their order")
    return made


def blanks(template: str) -> list[str]:
    """The names in braces. Raises BadTopic."""
    found = []
    rest = template
    while "{" in rest or "}" in rest:
        before, opened, rest = rest.partition("{")
        name, closed, rest = rest.partition("}")
        if "}" in before or not opened or not closed or not name.isidentifier():
            raise BadTopic("has braces that hold no name")
        found.append(name)
    return found


def fill(template: str, names: Mapping[str, str]) -> str:
    """The template with each name replaced. Names that mean something to a broker lose their meaning."""
    for name in blanks(template):
        text = names.get(name, "")
        template = template.replace(f"{{{name}}}", text.translate(_MEANINGLESS) or "_")
    return template


_MEANINGLESS = str.maketrans({"+": "_", "#": "_", "\0": "_", "{": "_", "}": "_"})


def _name(level: str) -> str:
    inner = level[1:-1]
    return inner if len(level) > 2 and level[0] == "{" and level[-1] == "}" and inner.isidentifier() else ""

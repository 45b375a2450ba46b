"""Templates in YAML, and errors that name its line."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster.components.resolved.errors import ResolutionException
from pydantic import ValidationError


def resolve_templates(context: dg.ResolutionContext, value: Any) -> Any:
    """The value with its templates (`{{ env.NAME }}`, template variables) replaced. Other strings stay as they are.

    Dagster would evaluate those too, and make a number of the column name "1".
    """
    if isinstance(value, dict):
        return {name: resolve_templates(context.at_path(name), each) for name, each in value.items()}
    if isinstance(value, list):
        return [resolve_templates(context.at_path(index), each) for index, each in enumerate(value)]
    return context.resolve_value(value) if isinstance(value, str) and "{{" in value else value


def error_at(context: dg.ResolutionContext, message: str) -> ResolutionException:
    """An error that begins with the file, the line and the setting."""
    setting = ".".join(map(str, context.path))
    tree = context.source_position_tree
    place = f"{tree.lookup_closest_and_path(context.path, None)[0]} - {setting}" if tree else setting
    return ResolutionException(f"{place}: {message}")


def invalid_at(context: dg.ResolutionContext, error: ValidationError, value: Any, *, skip: int = 0) -> ResolutionException:
    """What pydantic found wrong with a value, each with its line. `skip` leaves out the first parts of its places, such as a union's tag."""
    lines = []
    for each in error.errors(include_input=False, include_url=False):
        place, here = context, value
        for part in each["loc"][skip:]:
            # Pydantic also names the branches of a union, which are no settings.
            if isinstance(here, dict) and (part in here or part == each["loc"][-1]):
                place, here = place.at_path(part), here.get(part)
        lines.append(str(error_at(place, each["msg"])))
    return ResolutionException("\n".join(dict.fromkeys(lines)))

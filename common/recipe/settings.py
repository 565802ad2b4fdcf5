"""Recipes from `--set key=value`: split, apply and check settings."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from common.errors import UserError, brief
from common.recipe.ranges import check_range
from common.recipe.recipe import Recipe, check_field, field_types
from common.recipe.values import checked, parse
from common.words import nearest


def split_settings(text: str) -> list[str]:
    """Split a text `k=v k=v` into settings, at blanks before a `k=` that are not in brackets or quotes."""
    parts, start, depth, is_quoted = [], 0, 0, False
    for match in re.finditer(r'["\[\]]|\s+(?=[A-Za-z]\w*=)', text):
        if match[0] == '"':
            is_quoted = not is_quoted
        elif match[0] in "[]":
            depth += 1 if match[0] == "[" else -1
        elif depth <= 0 and not is_quoted:
            parts.append(text[start : match.start()])
            start = match.end()
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


def apply_settings(variants: Mapping[str, Recipe], base: str | Recipe, settings: Iterable[str]) -> Recipe:
    """Derive a recipe by `--set` arguments.

    Args:
      variants: the named recipes; `variant=NAME` starts over from one of them.
      base: the recipe, or its name, when no `variant=` is given.
      settings: `key=value` strings, applied after the variant is chosen; of two with one key the last one counts.

    Raises:
      UserError: an unknown key or variant (the message names the nearest), or a value of the wrong type.
    """
    recipe = variants[base] if isinstance(base, str) else base
    changes = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals:
            raise UserError(f"--set {brief(setting)}: write it as key=value")
        if key == "variant":
            if text not in variants:
                raise UserError(
                    f"--set variant={brief(text)}: no such variant; {nearest(text, variants)}there are "
                    f"{', '.join(variants)}"
                )
            recipe = variants[text]
            continue
        check_field(type(recipe), key, "--set")
        changes[key] = parse(field_types(type(recipe))[key], text.strip())
    if "num_steps" in changes and "epochs" not in changes:
        changes["epochs"] = 0
    return recipe.derive(**changes) if changes else recipe


def with_newer_fields(stored: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A stored recipe, as JSON, with all fields of `recipe`'s kind.

    A field that the stored one lacks is newer than its run, which did what the field's default does.
    """
    return type(recipe)(variant=recipe.variant).to_json() | stored


def check_settings(variants: Mapping[str, Recipe], settings: Iterable[str]) -> None:
    """Raise UserError for `--set` arguments that no recipe takes: unknown names, wrong types, out of range."""
    variants_first = sorted(settings, key=lambda setting: setting.partition("=")[0].strip() != "variant")
    recipe = next(iter(variants.values()))
    for setting in variants_first:
        recipe = _checked_setting(variants, recipe, setting)


def _checked_setting(variants: Mapping[str, Recipe], recipe: Recipe, setting: str) -> Recipe:
    """Check one setting alone. Returns `recipe`, or the variant that the setting names."""
    key = setting.partition("=")[0].strip()
    if key == "variant" or "=" not in setting:
        return apply_settings(variants, recipe, [setting])
    check_field(type(recipe), key, "--set")
    kind = field_types(type(recipe))[key]
    check_range(key, checked(key, kind, parse(kind, setting.partition("=")[2].strip())))
    return recipe

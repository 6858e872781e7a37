"""From a model to a recipe: how its two halves are called, and what is known of them before they run."""

from .recipe import Decode, Encode, Prior, Recipe
from .recognise import recipe_for, recipe_or_reason

__all__ = ["Decode", "Encode", "Prior", "Recipe", "recipe_for", "recipe_or_reason"]

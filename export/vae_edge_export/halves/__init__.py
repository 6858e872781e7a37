"""From a recipe to two proven functions: encode and decode, in shapes and units that are known."""

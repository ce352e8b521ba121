"""Plain functions on results: queries to labels and depth, stable ids, clouds and pictures."""

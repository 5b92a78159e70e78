"""The sections of a page. This folder is the registry: each file is a section.

A section's file holds `TITLE`, `ORDER` (a number; sections are sorted by it) and
`render(tables: Tables) -> str | None`, which gives an HTML fragment, or None for no section.
"""

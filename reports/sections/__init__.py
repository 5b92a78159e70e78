"""The sections of a page: one file, one section; this folder is the registry.

A section file holds `TITLE`, `ORDER` (sections are sorted by it) and
`render(tables: Tables) -> str | None`: an HTML fragment, or None where it has nothing to say.
"""

"""Claims of papers beside measurements: verdicts, reproduction, regression, experiments."""

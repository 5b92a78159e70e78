"""What papers claim, beside what was measured: verdicts, reproduction, regression, experiments."""

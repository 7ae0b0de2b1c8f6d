"""A verdict as a file: JSON for programs, HTML for readers. The text for a terminal is `Verdict.lines`."""

"""The command line: nouns and verbs, output, progress. No rules here."""

"""Verbs beyond create, list, show, update and delete: one file for each noun that has any."""

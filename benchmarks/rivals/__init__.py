"""Other tuners on a study of the harness. All modules except ``__main__`` run in the tuners' own environments too."""

"""Other tuners on a study of ours. Everything here but ``__main__`` also runs in their environments, without ours."""

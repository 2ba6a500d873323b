"""What a study found, drawn: one self-contained page, and the same figures inside optuna-dashboard."""

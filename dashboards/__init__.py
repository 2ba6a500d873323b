"""Draw what a study found: one self-contained page, and the same figures inside optuna-dashboard."""

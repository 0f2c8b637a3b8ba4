"""Single runs of the field: what one is asked for, and what it came to. No field is computed here."""

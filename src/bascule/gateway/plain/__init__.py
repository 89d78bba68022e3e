"""Plain HTTP: what we answer ourselves, and what is passed on to an upstream and back."""

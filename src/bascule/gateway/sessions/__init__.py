"""From an upgrade to a session, and to its outcome: admission, refusal, hand-over, drain."""

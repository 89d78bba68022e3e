"""Answers for operators: API, health, status page. No sockets of its own."""

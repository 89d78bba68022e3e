"""Answers for operators: API, health, status page. No listening sockets of its own."""

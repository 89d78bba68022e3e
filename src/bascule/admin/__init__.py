"""Answers for operators, badges and JupyterHub. No listening sockets of its own."""

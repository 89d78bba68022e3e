"""Bascule's benchmark suite: every proxy in turn, the unit is the proxy's own processor time.

``python -m bench install`` fetches the peers, ``python -m bench run`` measures;
docs/explanation/benchmarks.md explains.
"""

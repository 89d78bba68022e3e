"""The Grafana dashboard as code: what is drawn (`hopsworks`) and how (`panels`).

``python -m scripts.generated`` writes ``hopsworks.json``, which is committed so
that nobody needs the library to install the dashboard; a test keeps both the same.
"""

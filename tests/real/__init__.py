"""Tests with real parts: JupyterLab, Streamlit, nginx, Prometheus and Chromium."""

"""A small Streamlit app: what it shows was computed on the server from what the browser sent."""

import hashlib

import streamlit as st  # type: ignore[import-not-found]  # lives in a venv of its own

level = st.slider("Level", min_value=0, max_value=100, value=10)
st.write(f"Twice the level is {2 * level}.")
upload = st.file_uploader("Measurements")
if upload is not None:
    content = upload.getvalue()
    st.write(f"Received {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}.")

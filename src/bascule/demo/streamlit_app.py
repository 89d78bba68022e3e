"""The app of the demo with real tools; run by Streamlit in its own environment, never imported by us."""

import time

import streamlit as st  # type: ignore[import-not-found]

st.title("Through Bascule")
st.write("This page holds one WebSocket session. Everything you do here travels through the proxy.")

level = st.slider("Level", 0, 100, 40)
st.line_chart([((level * x) % 97) + x for x in range(60)])

uploaded = st.file_uploader("A file of any size")
if uploaded is not None:
    st.write(f"{uploaded.name}: {len(uploaded.getvalue()):,} bytes")

if st.button("Count for ten seconds"):
    bar = st.progress(0.0)
    for step in range(10):
        time.sleep(1)
        bar.progress((step + 1) / 10)
    st.success("Done, and the connection never went quiet.")

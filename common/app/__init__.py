"""The page to try networks on: `python -m common.app` serves it to the browser of this machine, by Streamlit."""

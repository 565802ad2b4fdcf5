"""The file that Streamlit runs at every change of the page."""

from common.app.page import show_page

show_page()

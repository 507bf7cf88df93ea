"""Fetching the assets of a route: found here, linked or downloaded, and always proven by digest."""

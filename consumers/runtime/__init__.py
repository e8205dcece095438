"""Runs a handler over topics: in order per key, at least once, in batches, whatever breaks.

What a handler's author needs is in `consumers.runtime.handling`.
"""

"""One module for each section of the page: a function `blocks(document)`, empty where this run did not measure it."""

"""How many machines a load needs: `plan(load, slopes)` reckons it, `simulate` plays it. Slopes are measured ones."""

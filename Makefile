# Two commands matter: `make run` and `make test`. Everything they need is set up by the targets they depend on.
UV_VERSION := 0.13.8
UV := .uv/bin/uv
SLUICE := .venv/bin/sluice
PYTHON := .venv/bin/python
export UV_PYTHON_DOWNLOADS := never

.PHONY: run serve run-cluster test check chaos protos bench bench-report bench-capacity bench-smoke bench-events clean

run: .venv/ready
	$(SLUICE) demo

serve: .venv/ready
	$(SLUICE) serve

run-cluster: .venv/ready
	$(SLUICE) cluster demo

test: check
	$(PYTHON) -m pytest

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# Faults at random on a whole cluster. The same SEED breaks the same things; one is drawn and printed if none is given.
MINUTES ?= 3
chaos: .venv/ready
	$(PYTHON) -m tests.chaos $(if $(SEED),--seed $(SEED)) --minutes $(MINUTES)

protos: .venv/ready
	$(PYTHON) -m proto.generate

# Figures on the terminal and as JSON. PARTS="calls streams" measures only those.
bench: .venv/ready
	$(SLUICE) bench run $(foreach part,$(PARTS),--part $(part))

# The same, and the pages that are made from it: docs/performance.md, its pictures, the README's figures.
bench-report: .venv/ready
	$(SLUICE) bench run --report

# What `sluice capacity` reckons from: capacity/slopes.json, and docs/capacity.md. About twelve minutes.
bench-capacity: .venv/ready
	$(PYTHON) -m bench.capacity

bench-smoke: .venv/ready
	$(SLUICE) bench smoke

# Events alone, with their page and plot. Parts can be measured one by one: python -m bench.events --help
bench-events: .venv/ready
	$(PYTHON) -m bench.events

# uv lives beside the environment it makes, so nothing global is touched.
$(UV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Sluice needs Python 3.11 or newer as python3" >&2; exit 1; }
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/ready: $(UV) pyproject.toml uv.lock
	$(UV) sync --locked --quiet
	@touch $@

clean:
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis

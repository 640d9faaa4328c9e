# Where to start: ./do audit and ./do test, which need not even make (they install it as root on Debian).
# ARGS adds options to the command of a target: make audit ARGS='--format json'

VENV := .venv
VENV39 := .venv39
PYTHON := $(VENV)/bin/python
ARGS :=
PYTEST_ARGS :=

# What the tests and benchmarks use beside Python, as COMMAND:DEBIAN-PACKAGE.
TOOLS := git:git ipcmk:util-linux unshare:util-linux lsof:lsof shellcheck:shellcheck \
	/usr/sbin/apache2:apache2-bin '/usr/lib/postgresql/*/bin/initdb:postgresql' \
	'/usr/*bin/sysctl:procps' '/usr/lib/systemd/systemd-sysctl:systemd'

# What the tests with real containers use (tests/containers.py). A group of its own: apt-get installs
# all it is told or nothing, and not every Debian has each of these.
CONTAINER_TOOLS := podman:podman '/usr/*bin/runc:runc' /usr/bin/conmon:conmon '/usr/lib*/podman/netavark:netavark' \
	'/usr/lib*/podman/aardvark-dns:aardvark-dns' '/usr/*bin/iptables:iptables' mmdebstrap:mmdebstrap ssh:openssh-client \
	/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
CONTAINER_CACHE = $${XDG_CACHE_HOME:-$$HOME/.cache}/ipcops-tests

# What the tests of the monitoring chain run (tests/prometheus, tests/kernel/test_nrpe.py).
MONITOR_TOOLS := promtool:prometheus prometheus-node-exporter:prometheus-node-exporter \
	prometheus-alertmanager:prometheus-alertmanager /usr/sbin/nrpe:nagios-nrpe-server \
	/usr/lib/nagios/plugins/check_nrpe:nagios-nrpe-plugin

# Without a network pip gives up in seconds: `make audit` then goes on without it.
PIP := PIP_RETRIES=$${PIP_RETRIES-1} PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 $(PYTHON) -m pip install --quiet

# A stamp in the virtual environment says what was installed, for which checkout. One that was
# moved here, or whose Python is gone, is made anew; else a changed pyproject.toml installs again.
RUN := $(VENV)/installed-run
DEV := $(VENV)/installed-dev
BENCH := $(VENV)/installed-bench
RUN39 := $(VENV39)/installed
usable = $(shell [ -x $(dir $(1))bin/python ] && [ "$$(cat $(1) 2>/dev/null)" = "$(CURDIR)" ] && echo yes)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help audit test test39 molecule lint bench demo docs clean FORCE

help: ## List the targets
	@awk -F ':[^#]*## ' '/^[a-z0-9]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

audit: ## Audit this machine, as root or not; sets up what it needs, status 0 whatever it finds
	@$(MAKE) --question $(RUN) 2>/dev/null || echo 'ipcops: setting up $(VENV), this once' >&2; \
	if why=$$($(MAKE) --silent $(RUN) 2>&1); then \
		$(VENV)/bin/ipcops audit --fail-on none $(ARGS); \
	elif python3=$$(./do --python 9); then \
		why=$$(printf '%s\n' "$$why" | grep -m 1 -i -e '^ipcops:' -e '^error'); \
		echo "ipcops: no $(VENV) ($${why#ipcops: }), so $$python3 -m ipcops.core audits" >&2; \
		"$$python3" -m ipcops.core audit --fail-on none $(ARGS); \
	else \
		printf '%s\n' "$$why" 'ipcops: no Python 3.9 or newer here' >&2; \
		exit 1; \
	fi

test: ## Install what the tests need (as root on Debian its packages too), then run them all
	@./do --need $(TOOLS) || echo 'ipcops: the tests that need them are skipped' >&2
	@./do --need $(CONTAINER_TOOLS) || echo 'ipcops: the tests with containers are skipped' >&2
	@./do --need $(MONITOR_TOOLS) || echo 'ipcops: the tests of the monitoring chain are skipped' >&2
	@$(MAKE) --silent $(DEV)
	@status=0; \
	$(PYTHON) -m pytest $(PYTEST_ARGS) || status=1; \
	$(MAKE) test39 || status=1; \
	exit $$status

test39: ## Run the core's tests on a real Python 3.9, where one is at hand
	@if ./do --python39 >/dev/null; then \
		$(MAKE) --silent $(RUN39) && $(VENV39)/bin/python -m pytest tests/core; \
	else \
		echo "skipped: tests/core on Python 3.9: no Python 3.9 at hand"; \
	fi

molecule: ## Run Molecule's scenarios, two at a time (`make test` does, too)
	@./do --need $(CONTAINER_TOOLS) || echo 'ipcops: no containers, so they are skipped' >&2
	@$(MAKE) --silent $(DEV)
	@$(PYTHON) -m pytest tests/molecule $(ARGS)

lint: $(DEV) ## Run ruff and mypy (the tests run them too)
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m mypy
	@$(PYTHON) -m mypy --python-version 3.9 ipcops/core ipcops/bundle/agent.py

bench: $(BENCH) ## Run the benchmarks (as root; some minutes)
	@./do --need $(TOOLS) || :
	@$(PYTHON) -m tests.bench $(ARGS)

demo: ## Leave IPC objects behind in a namespace of their own and watch ipcops find them
	@$(MAKE) --silent $(DEV)
	@PYTHONPATH=. $(PYTHON) tests/demo.py $(ARGS)

docs: $(DEV) ## Write the pages under docs/ that are made from the code
	@$(PYTHON) docs/generate.py $(ARGS)

clean: ## Remove everything the targets made
	rm -rf $(VENV) $(VENV39) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find ipcops tests docs -name __pycache__ -prune -exec rm -rf {} +
	rm -rf "$(CONTAINER_CACHE)" 2>/dev/null || podman unshare rm -rf "$(CONTAINER_CACHE)"

$(RUN): pyproject.toml $(if $(call usable,$(RUN)),,FORCE)
	$(if $(call usable,$(RUN)),,./do --venv $(VENV))
	$(PIP) --editable .
	$(PYTHON) -m compileall -q ipcops # pip leaves an editable checkout to compile itself at every start
	echo '$(CURDIR)' >$@

$(DEV): pyproject.toml $(if $(call usable,$(DEV)),,FORCE) | $(RUN)
	$(PIP) --editable '.[dev]'
	echo '$(CURDIR)' >$@

$(BENCH): pyproject.toml $(if $(call usable,$(BENCH)),,FORCE) | $(DEV)
	$(PIP) --editable '.[bench]'
	echo '$(CURDIR)' >$@

$(RUN39): pyproject.toml $(if $(call usable,$(RUN39)),,FORCE)
	$(if $(call usable,$(RUN39)),,"$$(./do --python39)" -m venv --clear $(VENV39))
	$(VENV39)/bin/python -m pip install --quiet --disable-pip-version-check pytest hypothesis
	echo '$(CURDIR)' >$@

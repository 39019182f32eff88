# Vallum. `make help` lists the targets.
SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
PACKAGES := libs/common libs/client libs/local services/registry services/validator services/risk services/compliance services/monitor
STAMP := $(VENV)/.installed

PRESIDIO := $(VENV)/.presidio

.PHONY: help setup presidio demo test lint format proto lock allowlists bench clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(STAMP)  ## .venv with every pinned package and the command `vallum`

# Every third-party package comes from requirements.lock, each checked against its hash; pip only fetches uv, which
# installs the rest in parallel. Compiled here, because a sandboxed worker may not write: it would compile each time.
$(STAMP): requirements.lock pyproject.toml $(PACKAGES:%=%/pyproject.toml)
	@test -x $(PY) || python3 -m venv $(VENV)
	@sed -n '/^uv==/,/^    #/p' requirements.lock | grep -v '^    #' > $(VENV)/uv.lock
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@$(PY) -m compileall -q -j 0 -x /tests/ $(PACKAGES)
	@touch $(STAMP)

presidio: $(PRESIDIO) ## the validator's extra of that name into .venv too, for the tests that need it

# Only adds: what both locks name is pinned alike, for the one was made under the other's constraints.
$(PRESIDIO): $(STAMP) services/validator/presidio.lock
	@$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PY) --require-hashes \
		-r services/validator/presidio.lock
	@touch $(PRESIDIO)

demo: setup      ## four submissions through the whole life, on real data; leaves nothing running
	@$(PY) examples/demo.py

# In CI a missing part is a failure. What is optional comes last there, so that all else is tested without it.
test: setup      ## every test this machine can run; names what it could not run
ifneq ($(filter true 1,$(CI)),)
	@$(PY) -m pytest -m "not extra"
	@$(MAKE) --no-print-directory presidio
	@$(PY) -m pytest -m extra services/validator
else
	@$(PY) -m pytest
endif
	@$(PY) -m tests.house

lint: setup      ## ruff, mypy --strict, buf lint and breaking
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy $(PACKAGES)
	@$(PY) proto/generate.py --check

format: setup    ## rewrite with ruff
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

proto: setup     ## regenerate libs/common/vallum from proto/
	@$(PY) proto/generate.py

lock: setup      ## renew requirements.lock and presidio.lock from the packages' own requirements
	@$(VENV)/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		$(PACKAGES:%=%/pyproject.toml) --group dev --extra local -o requirements.lock \
		--no-emit-package vallum-common --no-emit-package vallum-local --no-emit-package vallum-validator
	@$(PY) -c 'import tomllib; print(*tomllib.load(open("services/validator/pyproject.toml", "rb"))["project"]\
	["optional-dependencies"]["presidio"], sep="\n")' | $(VENV)/bin/uv pip compile --quiet --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --constraints requirements.lock - -o services/validator/presidio.lock

allowlists: setup ## allow-lists from the wheels in WHEELS=folder, signed with KEY=file
	@$(PY) -m vallum_validator.scan.allowlist generate $(WHEELS)
	@$(PY) -m vallum_validator.scan.allowlist index --version $$(date -u +%F)
	@$(PY) -m vallum_validator.scan.allowlist sign --key $(KEY)

bench: setup presidio ## every number in the READMEs that a script of bench/ measures
	@for f in bench/[!_]*.py; do $(PY) $$f || exit; done

clean:           ## remove .venv and what the tools left
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

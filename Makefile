# `make run` is all that a first visit needs. What is installed goes into .venv, what is fetched into
# third_party and what is made on the way into build; stamp files make a second run quick.

# The first Python here that is new enough; asked only when .venv is made.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PIP := .venv/bin/python -m pip --disable-pip-version-check -q
SETUP := .venv/bin/python setup.py -q
EXTENSIONS := $(shell find ext -name '*.p[yx][xd]')
PROTOC := .venv/bin/python -m grpc_tools.protoc -Iproto
PROTOS := $(wildcard proto/regatta/pb/*.proto)
H2SPEC := github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
# Keeps the current directory, and with it the release build, off the module search path.
ELSEWHERE := PYTHONSAFEPATH=1
CHECKOUT = $(CURDIR) $(shell readlink -f .venv/bin/python)

.PHONY: build run run-client test faults kafka-faults lint types check powercut coverage annotate model
.PHONY: bench bench-kafka bench-micro conformance simulate simulate-long mutants
.PHONY: sanitize sanitize-short fuzz soak h2spec abuse
.PHONY: proto verify-proto lock dist clean distclean
.DELETE_ON_ERROR:

build: .venv/.built

run: .venv/.built
	@.venv/bin/regatta --dev-mode --api.reflection-api --raft.address=127.0.0.1:5012 $(ARGS)

run-client: .venv/.built
	@.venv/bin/python docs/examples/client.py $(ARGS)

test: .venv/.built .venv/.requirements-dev
	.venv/bin/python -m pytest $(ARGS)

# Scenario files for the Raft core, which compare what it says and does byte for byte.
conformance: .venv/.built .venv/.requirements-dev
	@.venv/bin/python -m tests.conformance $(or $(DIR),tests/conformance/generated)

# Everything that can happen to a disk, and a table of it; needs root, mount and strace.
faults: .venv/.built .venv/.requirements-dev
	REGATTA_DISK_FAULTS=all .venv/bin/python -m pytest tests/disk $(ARGS)

# Everything that can happen to brokers, groups and nodes while topics are read, and a table of it;
# needs a Java runtime and Maven.
kafka-faults: .venv/.built .venv/.requirements-dev
	REGATTA_KAFKA_FAULTS=all REGATTA_KAFKA_KILLS=$(or $(KILLS),50) \
	  .venv/bin/python -m pytest tests/kafka/test_broker.py tests/kafka/test_faults.py $(ARGS)

lint: .venv/.requirements-dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint ext bench

types: .venv/.built .venv/.requirements-dev
	.venv/bin/mypy
	MYPYPATH=. .venv/bin/stubtest regatta --ignore-missing-stub --ignore-unused-allowlist \
	  --allowlist tests/stubtest-allowlist.txt

check: lint types test

bench: bench-micro bench-load

# Reads and writes beside the server that one would write first, every answer checked; needs two cores
# and OpenSSL's headers. ARGS="--server=NAME,URL,CERTIFICATE" takes in another server.
bench-load: .venv/.built .venv/.requirements-dev
	.venv/bin/python -m bench.load.table --runs=$(or $(RUNS),3) $(ARGS)

# How fast tables catch up with topics, beside loops that do less, and what reads cost meanwhile;
# needs Java and Maven, and some twenty minutes.
bench-kafka: .venv/.built .venv/.requirements-dev
	.venv/bin/python -m bench.kafka.compare $(ARGS)

# What parts cost by themselves.
bench-micro: .venv/.built .venv/.requirements-dev
	.venv/bin/python -m pytest -s bench/micro

# The long form of a part of `make test`: the power is cut at very many moments; needs strace.
powercut: .venv/.built .venv/.requirements-dev
	REGATTA_CUTS=$(or $(CUTS),1500) .venv/bin/python -m pytest -s tests/powercut $(ARGS)

# A Raft group under every fault, checked after every step. `make simulate SEED=4711` is one seed, and
# shows how it ends if it fails.
simulate: .venv/.built .venv/.requirements-dev
	@.venv/bin/python -m tests.simulation $(if $(SEED),--seed $(SEED)) \
	  --seeds $(or $(SEEDS),300) --steps $(or $(STEPS),5000) $(ARGS)

simulate-long: .venv/.built .venv/.requirements-dev
	@.venv/bin/python -m tests.simulation --seeds 10000 $(ARGS)

# What the simulation is worth: a table of planted bugs, and which seed and check finds each.
mutants: .venv/.built .venv/.requirements-dev
	@.venv/bin/python -m tests.simulation.mutants $(ARGS)

# Every HTTP/2 conformance case, beside nghttpd; says so and passes where there is neither h2spec nor Go.
h2spec: .venv/.built .venv/.requirements-dev
	@test -e build/bin/h2spec || ! command -v go >/dev/null || \
	  GOBIN=$(CURDIR)/build/bin go install $(H2SPEC)
	.venv/bin/python -m tests.http2.h2spec

# What each known attack on HTTP/2 costs a node.
abuse: .venv/.built .venv/.requirements-dev
	.venv/bin/python -m tests.abuse.table

# --- What the targets above stand on -------------------------------------------------------------

# Changed options of the compiler are otherwise not noticed.
FORCE = $(if $(filter setup.py,$?),--force)

# A .venv that was made in another place, or by a Python that is no longer there, is made anew.
ifneq ($(strip $(CHECKOUT)),$(strip $(shell cat .venv/.checkout 2>/dev/null)))
.PHONY: .venv/.checkout
endif
.venv/.checkout:
	@.ci/install-system-packages "$(PYTHON)"
	@echo "Making .venv"
	@$(PYTHON) -m venv --clear .venv
	@echo "$(CURDIR) $$(readlink -f .venv/bin/python)" >$@

.venv/.requirements: requirements.txt .venv/.checkout
	@echo "Installing Python packages"
	@$(PIP) install -r $<
	@touch $@

.venv/.requirements-dev: requirements-dev.txt .venv/.requirements
	@echo "Installing Python packages for development"
	@$(PIP) install -r $<
	@touch $@

# The command .venv/bin/regatta and the package's metadata; the compiling is left to .venv/.built.
.venv/.installed: pyproject.toml .venv/.requirements
	@REGATTA_BUILD=none $(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

.venv/.built: setup.py $(EXTENSIONS) third_party/.unpacked .venv/.installed
	@echo "Compiling"
	@$(SETUP) build_ext --inplace --parallel $(shell nproc) $(FORCE)
	@touch $@

# Only the C sources and the licences are kept. nghttp2's own build would make nghttp2ver.h.
third_party/.unpacked: requirements-sources.txt | .venv/.requirements
	@echo "Fetching the sources of LMDB and nghttp2"
	@rm -rf third_party build/sources
	@LMDB_PURE=1 $(PIP) download --no-deps --no-binary lmdb,ngh2 --require-hashes -d build/sources -r $<
	@mkdir -p third_party/lmdb third_party/nghttp2
	@tar -xzf build/sources/lmdb-*.tar.gz -C third_party/lmdb --strip-components=1 --wildcards \
	  'lmdb-*/LICENSE' 'lmdb-*/lib/lmdb.h' 'lmdb-*/lib/mdb.c' 'lmdb-*/lib/midl.[ch]'
	@tar -xzf build/sources/ngh2-*.tar.gz -C third_party/nghttp2 --strip-components=3 --wildcards \
	  '*/vendor/nghttp2/COPYING' '*/vendor/nghttp2/lib/*.[ch]' '*/vendor/nghttp2/lib/includes/*'
	@sed 's/@PACKAGE_VERSION@/1.70.0/; s/@PACKAGE_VERSION_NUM@/0x014600/' \
	  third_party/nghttp2/lib/includes/nghttp2/nghttp2ver.h.in \
	  >third_party/nghttp2/lib/includes/nghttp2/nghttp2ver.h
	@touch $@

# --- For those who change Regatta ----------------------------------------------------------------

# The generated modules are committed, so that no build needs a protobuf compiler.
proto: .venv/.requirements-dev
	$(PROTOC) --python_out=. --pyi_out=. $(PROTOS)

verify-proto: .venv/.requirements-dev
	rm -rf build/proto && mkdir -p build/proto
	$(PROTOC) --python_out=build/proto --pyi_out=build/proto $(PROTOS)
	@for file in build/proto/regatta/pb/*; do diff -u "regatta/pb/$${file##*/}" "$$file" || exit 1; done

# Pins what requirements.in and requirements-dev.in ask for to the newest versions there are.
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip install -q -r requirements.in
	(echo "# Made from requirements.in by \`make lock\`."; \
	  build/lock/bin/pip freeze --all --exclude pip) >requirements.txt
	build/lock/bin/pip install -q -r requirements.txt -r requirements-dev.in
	(echo "# Made from requirements.in and requirements-dev.in by \`make lock\`."; \
	  build/lock/bin/pip freeze --all --exclude pip) >requirements-dev.txt

# Tests in build/ its build in place of the one beside the sources; so do the tests' own processes.
PYTEST_OF = $(ELSEWHERE) PYTHONPATH=$(CURDIR)/build/$(1):$(CURDIR) \
  REGATTA_TESTED=$(CURDIR)/build/$(1) .venv/bin/python $(2) -m pytest -o pythonpath="build/$(1) ."

# A build of its own, far slower, that tells which lines of Python and Cython the tests reach.
coverage: .venv/.built .venv/.requirements-dev
	REGATTA_BUILD=coverage $(SETUP) build --build-lib build/coverage --build-temp build/coverage-objects
	COVERAGE_CORE=ctrace $(call PYTEST_OF,coverage,-m coverage run) $(ARGS)
	.venv/bin/python -m coverage report

# A build of its own, watched for faults of memory and arithmetic in C; what is found ends the
# process. Tests that start a whole daemon do not fit: that would be watched too.
SANITIZED = PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
  LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)"
SANITIZED_TESTS := tests/wire tests/http2 tests/raft tests/conformance tests/store tests/table \
  tests/api --ignore=tests/api/test_sockets.py
SANITIZED_TESTS_SHORT := tests/wire tests/http2 tests/raft tests/store/test_machine.py \
  tests/store/test_positions.py tests/table/test_range.py

build/.sanitized: setup.py $(EXTENSIONS) $(shell find regatta -name '*.py') .venv/.built
	@echo "Compiling with sanitizers"
	@REGATTA_BUILD=sanitize $(SETUP) build --parallel $(shell nproc) $(FORCE) \
	  --build-lib build/sanitize --build-temp build/sanitize-objects
	@touch $@

sanitize: build/.sanitized .venv/.requirements-dev
	$(SANITIZED) $(call PYTEST_OF,sanitize) $(or $(ARGS),$(SANITIZED_TESTS))

sanitize-short: build/.sanitized .venv/.requirements-dev
	$(SANITIZED) $(call PYTEST_OF,sanitize) $(SANITIZED_TESTS_SHORT)

# Inputs by the million, each made from its number, on the build with sanitizers. TARGET is http2,
# range, write, command, json, raft, snappy, kafka-batch or lookup; all of them if it is not given. One
# input by itself: `make fuzz INPUTS=1 FIRST=4711`.
fuzz: build/.sanitized .venv/.requirements-dev
	$(SANITIZED) $(ELSEWHERE) PYTHONPATH=$(CURDIR)/build/sanitize:$(CURDIR) .venv/bin/python \
	  -m tests.fuzz $(TARGET) --inputs $(or $(INPUTS),20000) --first $(or $(FIRST),0) $(ARGS)

# Clients of every kind at once, good and bad, on a daemon; fails if it answers wrong or grows.
soak: .venv/.built .venv/.requirements-dev
	.venv/bin/python -m tests.soak $(or $(SECONDS),120) $(ARGS)

# Many thousand random operations and some hundred restarts, held to a model; takes half an hour.
model: .venv/.built .venv/.requirements-dev
	REGATTA_MODEL_EXAMPLES=500 .venv/bin/python -m pytest -s tests/cluster/test_kv_model.py $(ARGS)

# Coloured HTML of the C that Cython makes, in build/cython-html.
annotate: .venv/.built
	REGATTA_ANNOTATE=1 $(SETUP) --version

dist: .venv/.built .venv/.requirements-dev
	rm -rf dist
	.venv/bin/python -m build --no-isolation --outdir dist

clean:
	rm -rf build dist *.egg-info .venv/.built .venv/.installed
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .coverage
	find regatta ext -name '*.so' -delete -o -name '*.c' -delete -o -name '*.html' -delete
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv third_party

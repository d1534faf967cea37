# make lab   install, then open chapter 00 in JupyterLab      make book       the HTML site, strict
# make test  install, then run every test and notebook        make demo       train the digits model, write a picture
# make ledger     measure the equations, write appendix D
# make notebooks  regenerate and execute notebooks/ from book/ make assignments  nbgrader's student versions
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WANTED := -c constraints.txt -e '.[lab,book,test,classroom,lint]'
PARALLEL := -n 2 --dist loadfile
CHAPTERS := $(basename $(notdir $(wildcard book/[0-9][0-9]-*.md)))

.PHONY: lab test book demo ledger notebooks assignments lint clean
.DEFAULT_GOAL := lab

$(STAMP): pyproject.toml constraints.txt
	@python=$(BIN)/python; test -x $$python || python=$(PYTHON); $$python -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python 3.11 or newer is needed, found " + sys.version.split()[0] + ": " + sys.executable + "\n" + \
	    "With another one (after rm -r $(VENV), if it is there): make PYTHON=python3.12")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { test -x $(BIN)/python && command -v uv >/dev/null; } || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes the first time, PyTorch is large"
	@(while sleep 20 >&2 && kill -0 $$$$; do echo "... $$(du -sm $(VENV) | cut -f1) MB in $(VENV)"; done) 2>/dev/null & \
	if command -v uv >/dev/null; then \
	    uv pip install --python $(BIN)/python $${PIP_FIND_LINKS:+--find-links "$$PIP_FIND_LINKS"} $(WANTED); \
	else \
	    $(BIN)/python -m pip install --disable-pip-version-check $(WANTED); \
	fi; failed=$$?; kill $$!; test $$failed = 0 || { \
	    echo "Not installed, for the reason above. Most often the package index was out of reach (pip then speaks of no matching or of" \
	        "conflicting versions): is the network there, and its proxy set? Or the disk is full. A second make tries again." >&2; exit 1; }
	@touch $@

lab: $(STAMP)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
	    --LabApp.default_url=/lab/tree/notebooks/00-one-sitting.ipynb --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

test: $(STAMP)
	TINYLDM_SCALE=ci OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) tests
	TINYLDM_SCALE=ci OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --nbval --nbval-sanitize-with tests/nbval.cfg notebooks

book: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going -j 1 -b html book build/html
	@echo "open build/html/index.html"

ledger: $(STAMP)
	$(BIN)/python -m pytest -q tests -m equation --ledger book/ledger.json
	$(BIN)/python book/ledger.py

demo: $(STAMP)
	$(BIN)/python -m tinyldm demo --out build/demo

notebooks: $(STAMP) $(CHAPTERS:%=notebook-%)

notebook-%: $(STAMP)
	mkdir -p notebooks
	$(BIN)/python book/lab.py $*
	TINYLDM_SCALE=$${TINYLDM_SCALE:-cpu} $(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace notebooks/$*.ipynb
	$(BIN)/jupyter nbconvert --log-level WARN --coalesce-streams --inplace notebooks/$*.ipynb

assignments: $(STAMP)
	$(BIN)/python -m tinyldm.exercises.assignment book build/assignments

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

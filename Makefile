# make demo   sets everything up and super-resolves the bundled thick-slice scan
# make test   sets everything up and runs all tests
# make panel  opens the Slicer panel in the headless host and takes its picture
# make audit  asks pip-audit's services about known holes in the packages of a release
# make benchmark  measures speed and memory on an idle machine; QUICK=1 takes small crops and only prints

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_SCAN := CycleINRSlicer/Resources/SampleData/ct_head_5mm.nii.gz

.PHONY: demo test panel benchmark audit lint clean
demo: $(VENV)/engine.done
	$(BIN)/python -m cycleinr demo $(DEMO_SCAN) output --overwrite

test: $(VENV)/host.done
	$(BIN)/ruff check .
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

panel: $(VENV)/host.done
	$(BIN)/python Testing/scripts/panel.py output

benchmark: $(VENV)/engine.done
	$(BIN)/python Testing/Benchmarks/benchmark.py $(if $(QUICK),--quick,--output docs/benchmarks.md)

audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements-release.txt
	grep '^torch==' constraints.txt > build/audit/torch.txt
	build/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement build/audit/torch.txt

lint: $(VENV)/engine.done
	$(BIN)/ruff check .

$(VENV)/engine.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,evaluate,batch,test,recipes]'
	touch $@

# Rendering and Qt without a display, and the validation of DICOM series, need packages of the system; Debian's are
# installed where that is allowed.
$(VENV)/host.done: $(VENV)/engine.done Testing/scripts/system_libraries.sh
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[host]'
	sh Testing/scripts/system_libraries.sh
	touch $@

clean:
	rm -rf $(VENV) output build

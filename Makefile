# make demo   sets everything up and super-resolves the bundled thick-slice scan
# make test   sets everything up and runs all tests
# make test-slicer-5.10  runs the tests of what runs in Slicer once more, with the packages of Slicer 5.10
# make docs   makes the API page of `import cycleinr`, build/docs/cycleinr.html
# make panel  opens the Slicer panel in the headless host and takes its pictures; make screenshots also puts them where
#             README and user guide show them
# make audit  asks pip-audit's services about known holes in the packages of a release
# make benchmark  measures speed and memory on an idle machine; QUICK=1 takes small crops and only prints

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_SCAN := CycleINRSlicer/Resources/SampleData/ct_head_5mm.nii.gz

SLICER_5_10 := build/slicer-5.10
# test_pacs needs pynetdicom, whose present version needs a later pydicom; Slicer has no part in it
SLICER_TESTS := Testing/extension Testing/files Testing/worker Testing/dicom_out --ignore=Testing/dicom_out/test_pacs.py \
	Testing/inference/test_upsample.py Testing/inference/test_noise.py \
	$(addprefix Testing/engine/test_,$(addsuffix .py,grid resampling straighten volume))

.PHONY: demo test test-slicer-5.10 docs panel screenshots benchmark audit lint clean
demo: $(VENV)/demo.done
	$(BIN)/python -m cycleinr demo $(DEMO_SCAN) output --overwrite --window auto --window soft-tissue --window bone

test: $(VENV)/host.done
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slicer-5.10: $(SLICER_5_10)/done
	$(SLICER_5_10)/bin/python -m pytest --numprocesses 2 --dist loadfile $(SLICER_TESTS)

docs: $(VENV)/engine.done
	$(BIN)/python Testing/scripts/make_docs.py build/docs

panel: $(VENV)/host.done
	$(BIN)/python Testing/scripts/panel.py output

screenshots: panel
	cp output/panel.png output/review.png output/error_map.png output/preview.png Resources/Screenshots

benchmark: $(VENV)/engine.done
	$(BIN)/python Testing/Benchmarks/benchmark.py $(if $(QUICK),--quick,--output research/docs/benchmarks.md)

audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements-release.txt
	grep '^torch==' constraints.txt > build/audit/torch.txt
	build/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement build/audit/torch.txt

lint: $(VENV)/engine.done
	$(BIN)/ruff check .

$(VENV)/demo.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/engine.done: $(VENV)/demo.done research/pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[gpu,batch,test,recipes]' --editable research
	touch $@

# Rendering and Qt without a display, and the validation of DICOM series, need packages of the system; Debian's are
# installed where that is allowed.
$(VENV)/host.done: $(VENV)/engine.done Testing/scripts/system_libraries.sh
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[host]'
	sh Testing/scripts/system_libraries.sh
	touch $@

# Slicer 5.10's own packages first, then all others of the usual environment, the engine's editable one included
$(SLICER_5_10)/done: $(VENV)/host.done Testing/slicer-5.10.txt
	$(PYTHON) -m venv --clear $(SLICER_5_10)
	$(SLICER_5_10)/bin/python -m pip install --quiet --no-deps --requirement Testing/slicer-5.10.txt
	$(BIN)/python -c 'import sys; folders = (p for p in sys.path if p.endswith("site-packages")); \
		print(*(f"import site; site.addsitedir({p!r})" for p in folders), sep="\n")' \
		> $$($(SLICER_5_10)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth
	touch $@

clean:
	rm -rf $(VENV) output build

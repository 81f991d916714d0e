"""A .ui file with anything that the host does not know fails."""

import pytest

pytestmark = pytest.mark.usefixtures("host")

FORM = """<ui version="4.0"><class>Form</class><widget class="QWidget" name="Form">
<layout class="QVBoxLayout" name="layout"><item>{}</item></layout></widget></ui>"""


@pytest.fixture
def load(tmp_path):
    def load_form(content):
        import slicer

        path = tmp_path / "form.ui"
        path.write_text(FORM.format(content))
        return slicer.util.childWidgetVariables(slicer.util.loadUI(str(path)))

    return load_form


def test_known_widgets_and_properties(load):
    ui = load('<widget class="QLabel" name="status"><property name="text"><string>Idle</string></property></widget>')
    assert ui.status.text == "Idle"


def test_an_unknown_class(load):
    with pytest.raises(RuntimeError, match="ctkRangeWidget is not provided"):
        load('<widget class="ctkRangeWidget" name="range"/>')


def test_an_unknown_property(load):
    with pytest.raises(RuntimeError, match="no property 'txet'"):
        load('<widget class="QLabel" name="status"><property name="txet"><string>Idle</string></property></widget>')


def test_a_missing_file():
    import slicer

    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadUI("/no/such/form.ui")

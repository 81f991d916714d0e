"""What docs/security.md promises about the code."""

import ast

import pytest
from places import REPOSITORY

PACKAGES = REPOSITORY / "CycleINRSlicer"
FILES = [path for name in ("cycleinr", "CycleINRSlicerLib") for path in sorted((PACKAGES / name).rglob("*.py"))]
NETWORK = {"socket", "ssl", "http", "urllib", "requests", "ftplib", "smtplib", "socketserver", "xmlrpc", "aiohttp"}
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
RUNNING_TEXT = {"eval", "exec", "os.system", "os.popen", "__import__"}
NETWORK_ALLOWED = {"cycleinr/batch/cluster.py"}
"""Names the computer in its messages to the batch."""


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str):
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == name), None)


def name_of(path) -> str:
    return str(path.relative_to(PACKAGES))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_connections_no_unpickling_no_shell_no_code_from_texts(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert imported(tree) & UNPICKLING == set()
    if name_of(path) not in NETWORK_ALLOWED:
        assert imported(tree) & NETWORK == set()
    for name, call in calls(tree):
        assert name not in RUNNING_TEXT
        assert not keyword(call, "shell") if name.startswith("subprocess.") else True
        if name == "torch.load":
            assert keyword(call, "weights_only") is True
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") is not True


def test_the_rules_are_applied_to_all_files():
    assert len(FILES) > 80
    found = [name for path in FILES for name, _ in calls(ast.parse(path.read_text(encoding="utf-8")))]
    assert {"torch.load", "np.load", "subprocess.run"} <= set(found)

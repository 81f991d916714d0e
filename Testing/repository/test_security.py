"""What docs/security.md promises about the code."""

import ast

from places import REPOSITORY
from repository.source_text import ENGINE_FILES, MODULE_FILES, RESEARCH_FILES, imports_of, parsed, place

FILES = ENGINE_FILES + MODULE_FILES + RESEARCH_FILES
NETWORK = {"socket", "ssl", "http", "urllib", "requests", "ftplib", "smtplib", "socketserver", "xmlrpc", "aiohttp"}
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
RUNNING_TEXT = {"eval", "exec", "os.system", "os.popen", "__import__"}
NETWORK_ALLOWED = {REPOSITORY / "CycleINRSlicer/cycleinr/batch/cluster.py"}
"""Names the computer in its messages to the batch."""


def keyword(call: ast.Call, name: str):
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == name), None)


def is_unsafe(name: str, call: ast.Call) -> bool:
    """Whether a call runs a text as code or by a shell, or may unpickle."""
    if name in ("np.load", "numpy.load"):
        return keyword(call, "allow_pickle") is True
    if name == "torch.load":
        return keyword(call, "weights_only") is not True
    return name in RUNNING_TEXT or (name.startswith("subprocess.") and bool(keyword(call, "shell")))


def test_no_connections_and_no_unpickling():
    forbidden = {path: UNPICKLING | (set() if path in NETWORK_ALLOWED else NETWORK) for path in FILES}
    found = [text for path, names in forbidden.items() for text in imports_of(names, path)]
    assert not found, "\n".join(found)


def test_no_unpickling_no_shell_no_code_from_texts():
    calls = [
        (ast.unparse(node.func), node, place(path, node.lineno))
        for path in FILES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
    ]
    assert {"torch.load", "np.load", "subprocess.run"} <= {name for name, _, _ in calls}, "rules without cases"
    found = [f"{at} calls {name}" for name, call, at in calls if is_unsafe(name, call)]
    assert not found, "\n".join(found)

"""The page on messages, compared with the errors and messages that are in the code."""

import ast
import re

from places import REPOSITORY
from repository.source_text import ENGINE_FILES, MODULE_FILES, parsed

PAGE_FILE = REPOSITORY / "docs" / "troubleshooting.md"
PAGE = PAGE_FILE.read_text(encoding="utf-8")
TREES = [parsed(path) for path in ENGINE_FILES + MODULE_FILES]
ANYTHING = "…"


def error_classes() -> dict[str, int]:
    """Names of all subclasses of CycleinrError, with their exit codes."""
    classes = {node.name: node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    codes = {"CycleinrError": 1}
    found = True
    while found:
        found = False
        for name, node in classes.items():
            parents = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in codes]
            if parents and name not in codes:
                codes[name] = own_exit_code(node, codes[parents[0]])
                found = True
    return {name: code for name, code in codes.items() if name != "CycleinrError"}


def own_exit_code(node: ast.ClassDef, inherited: int) -> int:
    for statement in node.body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "exit_code":
            return statement.value.value
    return inherited


def texts_in_code() -> list[str]:
    """All texts of the code, with one sign for every value that is put in."""
    found = []
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"\{\w*\}", ANYTHING, node.value))
    return found


def sections() -> dict[str, tuple[str, list[list[str]]]]:
    """Of each kind of error: what its heading says in brackets, and the rows of its table."""
    parts = re.split(r"^## (\w+) \((.*)\)$", PAGE, flags=re.MULTILINE)[1:]
    return {
        name: (where, [row.strip("|").split(" | ") for row in text.splitlines() if row.startswith("| `")])
        for name, where, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def fragments(message: str) -> list[str]:
    return [part.strip(" .") for part in message.strip().strip("`").split(ANYTHING) if len(part.strip(" .")) > 3]


CODES, TEXTS, SECTIONS = error_classes(), texts_in_code(), sections()
MESSAGES = [(name, row[0].strip()) for name, (_, rows) in SECTIONS.items() for row in rows]


def test_the_page_has_every_kind_of_error_and_no_other():
    assert len(CODES) > 10
    assert set(SECTIONS) == set(CODES)


def test_each_kind_has_rows_with_meaning_and_remedy_and_the_right_exit_code():
    for name, (where, rows) in SECTIONS.items():
        assert rows and all(len(row) == 2 and all(cell.strip() for cell in row) for row in rows), name
        assert where in (f"exit code {CODES[name]}", "in 3D Slicer"), name


def test_each_message_of_the_page_is_one_of_the_code():
    for name, message in MESSAGES:
        wanted = fragments(message)
        assert wanted, f"{PAGE_FILE.name}, {name}: {message}"
        assert any(all(part in text for part in wanted) for text in TEXTS), f"{PAGE_FILE.name}, {name}: {message}"

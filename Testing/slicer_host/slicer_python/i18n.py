"""``slicer.i18n``: texts stay as they are, unless a test installs a translation."""

import logging
import re

_translations = {}


def set_translations(translations):
    """For tests: ``{text: translated text}``; an empty dictionary switches translation off."""
    _translations.clear()
    _translations.update(translations)


def translate(context, text):
    """Translate ``text``; the context is not looked at here."""
    return _translations.get(text, text)


def _placeholders(text):
    return set(re.findall(r"(?<!{){([^{}]+)}(?!})", text))


def tr(text):
    """Translate ``text``, unless its placeholders would be lost."""
    translated = translate(None, text)
    if _placeholders(translated) != _placeholders(text):
        logging.warning("translation of %r to %r is incorrect: placeholders do not match", text, translated)
        return text
    return translated

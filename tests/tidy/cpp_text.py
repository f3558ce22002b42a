"""Reads C++ as text: what is code, what is not, and where functions begin and end.

It is not a parser. It relies on the formatting that clang-format gives this tree: the brace that
opens a body has a space before it, the brace of an initializer does not or follows '='.
"""
import re

_TOKEN = re.compile(
    r'//[^\n]*'
    r'|/\*.*?\*/'
    r'|R"(?P<mark>[^()\\ ]{0,16})\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)
_DIRECTIVE = re.compile(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', re.MULTILINE)
_TYPE = re.compile(r'^(template\s*<.*>\s*)?(class|struct|union|enum)\b', re.DOTALL)
_NAMESPACE = re.compile(r'^(inline\s+)?(namespace\b|extern\s*"?)')


def _blank(text):
    return re.sub(r'[^\n]', ' ', text)


def mask(source, keep_comments=False):
    """`source` with the contents of strings and comments as spaces; lines and columns stay."""

    def replace(match):
        text = match.group()
        if text.startswith(('//', '/*')):
            return text if keep_comments else _blank(text)
        return text[0] + _blank(text[1:-1]) + text[-1]

    return _TOKEN.sub(replace, source)


def comment_lines(source):
    """(line number, text) of each // comment but examples, which stand three spaces in."""
    found = []
    for match in _TOKEN.finditer(source):
        if match.group().startswith('//'):
            line = source.count('\n', 0, match.start()) + 1
            text = match.group().lstrip('/')
            if not text.startswith('   '):
                found.append((line, text.strip()))
    return found


def _opens(header, before):
    """What the brace after `header` opens: 'namespace', 'type', 'function' or 'other'."""
    if not before.isspace() or header.count('(') != header.count(')'):
        return 'other'
    if _NAMESPACE.match(header):
        return 'namespace'
    if _TYPE.match(header) and not header.endswith((')', 'const', 'override', 'noexcept')):
        return 'type'
    if '(' not in header or header.endswith(('=', ',', '(')):
        return 'other'
    return 'function'


def functions(source):
    """(first line, last line, header) of each function body that is not inside another."""
    text = _DIRECTIVE.sub(lambda match: _blank(match.group()), mask(source))
    found = []
    stack = []
    start = 0
    for position, char in enumerate(text):
        outside = all(kind in ('namespace', 'type') for kind, _, _ in stack)
        if char == '{':
            header = text[start:position].strip()
            header = re.sub(r'^(public|private|protected)\s*:\s*', '', header)
            before = text[position - 1] if position else ' '
            kind = _opens(header, before) if outside else 'other'
            first = start + len(text[start:position]) - len(text[start:position].lstrip())
            stack.append((kind, first, ' '.join(header.split())))
            if kind != 'other':
                start = position + 1
        elif char == '}':
            kind, first, header = stack.pop() if stack else ('other', 0, '')
            if kind == 'function':
                lines = [text.count('\n', 0, where) + 1 for where in (first, position)]
                found.append((lines[0], lines[1], header))
            if kind != 'other':
                start = position + 1
        elif char == ';' and outside:
            start = position + 1
    return found

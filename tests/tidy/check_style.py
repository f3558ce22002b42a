#!/usr/bin/env python3
"""The style guide as a program: prints one line a violation, and exits 1 when there is any.

Usage: check_style.py ROOT
"""
import ast
import fnmatch
import os
import re
import sys

import cpp_text

SKIPPED_DIRECTORIES = {'.git', 'build', '.ccache', '__pycache__', 'node_modules', 'corpus'}
CPP = ('.cc', '.h')
WRITTEN_BY_PROGRAMS = ('.svg', 'tests/bench/RESULTS.md')  # their lines are as long as they are
LINE_MAX = 100
WIDE_LINE_MAX = 120
SOURCE_LINES_MAX = 500
HEADER_LINES_MAX = 250
TEST_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
HEADER_COMMENT_LINES = 15

# Include prefixes, who may use them, and why nobody else.
RESTRICTED = [
    (('rocksdb/',), ['storage/*.cc', 'storage/rocks_*.h', 'tests/*'],
     'RocksDB stays behind storage/store.h'),
    (('grpcpp/', 'grpc/', 'mqd/v1/'),
     ['server/rpc/*', 'server/http/*', 'server/app*.cc', 'client/*.cc', 'client/*.h', 'tests/*'],
     'gRPC and generated types stay at the edge'),
    (('google/protobuf/',),
     ['server/rpc/*', 'server/http/*', 'proto/wire/*', 'client/*.cc', 'client/*.h', 'tests/*'],
     'Protobuf stays at the edge'),
    (('asio.hpp', 'asio/'),
     ['server/queue/*actor*', 'server/queue/*executor*', 'server/queue/*registry*', 'server/rpc/*',
      'server/app*', 'server/main.cc', 'tests/*'],
     'only actors, sessions (for timers) and the composition root know the executor'),
]

# Folder, include prefixes it must not use, and what it may after all.
FORBIDDEN = [
    ('proto/', ('server/', 'storage/', 'client/'), ()),
    ('storage/', ('server/', 'client/', 'mqd/'), ()),
    ('server/', ('client/', 'tests/'), ()),
    ('server/queue/',
     ('server/rpc/', 'server/http/', 'server/app', 'grpc', 'google/protobuf/', 'mqd/', 'rocksdb/',
      'storage/'),
     tuple(f'storage/{name}.h'
           for name in ('types', 'body', 'records', 'batch', 'store', 'record_codec'))),
    ('server/http/', ('server/rpc/',), ()),
    ('client/', ('server/', 'storage/', 'tests/'), ()),
    ('client/include/mqd/',
     ('grpc', 'google/protobuf/', 'mqd/v1/', 'client/', 'proto/', 'asio', 'rocksdb/'), ()),
    ('client/examples/', ('grpc', 'google/protobuf/', 'mqd/v1/', 'client/', 'proto/'), ()),
]

# Written so that this file does not match itself.
FORBIDDEN_TEXT = [
    (re.compile(r'\b(TO' r'DO|FIX' r'ME|XX' r'X)\b'), 'unfinished: finish it or file an issue'),
    (re.compile(r'(?<!user-)(?<!user )\bage' r'nts?\b', re.I), 'text names who wrote it'),
    (re.compile(r'\bhel' r'pers?\b', re.I), 'say what it does instead'),
    (re.compile(r'\b(clau' r'de|anthro' r'pic|chat' r'gpt|copi' r'lot)\b', re.I),
     'text names who wrote it'),
    (re.compile(r'(?<![\w.])/wor' r'k/|\.\./sha' r'red/|/tmp/bui' r'ld|(?<!\w)/ro' r'ot/'),
     'path of one machine'),
    (re.compile(r'\b(npm' r'js|py' r'pi)\.(org|com)|\bproxy\.gol' r'ang'), 'host of a registry'),
]
SLEEP = re.compile(r'\b(sleep_for|sleep_until|usleep|nanosleep|SleepFor|sleep)\s*\(')
SHELL_SLEEP = re.compile(r'(^|[;&|]|\bdo\b|\bthen\b)\s*sleep\s')
CODE_IN_COMMENT = re.compile(
    r'^(#include\b.*|[{}];?|\}\s*else\b.*|(if|for|while|switch)\s*\(.*\)\s*\{'
    r'|(return\b|std::|absl::|auto |const ).*;|[\w.>:-]+\(.*\);|[\w.\->:\[\]]+\s*[-+|&]?=\s.*;)$')
SCRIPT_CODE_IN_COMMENT = re.compile(
    r'^#\s*(import \w+$|from \w+ import |def \w+\(|target_\w+\(|add_\w+\(|find_\w+\(|set\(\w)')


def kind_of(path, text):
    """'cpp', 'python', 'shell', 'cmake' or 'text'."""
    name = os.path.basename(path)
    if path.endswith(CPP):
        return 'cpp'
    if path.endswith('.py') or re.match(r'#!.*\bpython', text):
        return 'python'
    if path.endswith('.sh') or re.match(r'#!.*\b(ba)?sh\b', text):
        return 'shell'
    if name == 'CMakeLists.txt' or path.endswith(('.cmake', '.cmake.in')):
        return 'cmake'
    return 'text'


class Checker:
    """Collects violations over a tree of files: a dict of relative path to text."""

    def __init__(self, files):
        self.files = files
        self.found = []

    def fail(self, path, line, what):
        self.found.append(f'{path}:{line}: {what}')

    def run(self):
        for path, text in sorted(self.files.items()):
            kind = kind_of(path, text)
            lines = text.split('\n')
            self.check_lines(path, kind, lines)
            self.check_size(path, kind, len(lines) - (lines[-1] == ''))
            if kind == 'cpp':
                self.check_cpp(path, text)
            elif kind == 'python':
                self.check_python(path, text)
            if path.startswith('tests/'):
                self.check_sleep(path, kind, text)
        self.check_listed()
        return self.found

    def check_lines(self, path, kind, lines):
        limit = WIDE_LINE_MAX if kind == 'text' else LINE_MAX
        for number, line in enumerate(lines, 1):
            wide_ok = path.endswith('.md') and (line.startswith('|') or 'http' in line)
            if len(line) > limit and not wide_ok and not path.endswith(WRITTEN_BY_PROGRAMS):
                self.fail(path, number, f'line of {len(line)} characters, at most {limit}')
            if line != line.rstrip():
                self.fail(path, number, 'space at the end of the line')
            if '\t' in line and not path.endswith(('.tsv', 'Makefile', 'rules')):
                self.fail(path, number, 'tab')
            for pattern, why in FORBIDDEN_TEXT:
                match = pattern.search(line)
                if match:
                    self.fail(path, number, f'"{match.group()}": {why}')
            if kind in ('python', 'cmake', 'shell') and SCRIPT_CODE_IN_COMMENT.match(line.strip()):
                self.fail(path, number, 'commented-out code')
        if lines and lines[-1] != '':
            self.fail(path, len(lines), 'no end of line at the end')

    def check_size(self, path, kind, count):
        if path.startswith('tests/') and kind != 'text':
            limit = TEST_LINES_MAX
        elif path.endswith('.h'):
            limit = HEADER_LINES_MAX
        elif kind in ('cpp', 'python', 'shell'):
            limit = SOURCE_LINES_MAX
        else:
            return
        if count > limit:
            self.fail(path, count, f'file of {count} lines, at most {limit}')

    def check_cpp(self, path, text):
        masked = cpp_text.mask(text)
        for number, line in enumerate(masked.split('\n'), 1):
            if re.search(r'\bfriend\b', line):
                self.fail(path, number, 'friend')
        for number, comment in cpp_text.comment_lines(text):
            if CODE_IN_COMMENT.match(comment):
                self.fail(path, number, 'commented-out code')
        for first, last, header in cpp_text.functions(text):
            if last - first + 1 > FUNCTION_LINES_MAX:
                what = f'function of {last - first + 1} lines, at most {FUNCTION_LINES_MAX}'
                self.fail(path, first, f'{what}: {header[:60]}')
        if path.endswith('.h'):
            self.check_header(path, text)
        self.check_includes(path, cpp_text.mask(text, keep_comments=True), text)

    def check_header(self, path, text):
        top = text.split('\n')[:HEADER_COMMENT_LINES]
        if not any(line.strip() == '#pragma once' for line in top):
            self.fail(path, 1, 'no #pragma once')
        if not any(line.startswith(f'// {os.path.basename(path)}: ') for line in top):
            self.fail(path, 1, f'no purpose: a line that begins "// {os.path.basename(path)}: "')
        if not any(re.match(r'// Threads\b', line) for line in top):
            self.fail(path, 1, f'no "// Threads:" in the first {HEADER_COMMENT_LINES} lines')

    def check_includes(self, path, masked, text):
        for number, line in enumerate(text.split('\n'), 1):
            match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            if not match or not masked.split('\n')[number - 1].strip().startswith('#'):
                continue
            included = match.group(1)
            for prefixes, allowed, why in RESTRICTED:
                if included.startswith(prefixes) and not matches(path, allowed):
                    self.fail(path, number, f'includes {included}: {why}')
            for folder, prefixes, excepted in FORBIDDEN:
                if path.startswith(folder) and included.startswith(prefixes) and (
                        included not in excepted):
                    self.fail(path, number, f'includes {included}, which is not for {folder}')

    def check_python(self, path, text):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                count = node.end_lineno - node.lineno + 1
                if count > FUNCTION_LINES_MAX:
                    what = f'function of {count} lines, at most {FUNCTION_LINES_MAX}'
                    self.fail(path, node.lineno, f'{what}: {node.name}')

    def check_sleep(self, path, kind, text):
        if kind == 'python' and not path.startswith('tests/tidy/'):
            for node in ast.walk(ast.parse(text)):
                name = getattr(node, 'attr', getattr(node, 'id', ''))
                if isinstance(node, (ast.Attribute, ast.Name)) and name == 'sleep':
                    self.fail(path, node.lineno, 'sleep in a test: wait for the event')
        pattern = {'cpp': SLEEP, 'shell': SHELL_SLEEP}.get(kind)
        code = cpp_text.mask(text) if kind == 'cpp' else text
        for number, line in enumerate(code.split('\n'), 1):
            if pattern and pattern.search(line):
                self.fail(path, number, 'sleep in a test: wait for the event')

    def check_listed(self):
        listed = set()
        for path, text in self.files.items():
            if os.path.basename(path) != 'CMakeLists.txt':
                continue
            folder = os.path.dirname(path)
            for name in re.findall(r'[^\s()";]+\.cc\b', text):
                name = re.sub(r'^\$\{CMAKE_CURRENT_SOURCE_DIR\}/', '', name)
                base = '' if name.startswith('${') else folder
                name = re.sub(r'^\$\{(PROJECT|CMAKE)_SOURCE_DIR\}/', '', name)
                listed.add(os.path.normpath(os.path.join(base, name)))
        for path in self.files:
            if path.endswith('.cc') and path not in listed:
                self.fail(path, 1, 'is in no CMakeLists.txt')


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def read_tree(root):
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_DIRECTORIES]
        for name in names:
            path = os.path.join(folder, name)
            try:
                with open(path, encoding='utf-8', newline='') as file:
                    files[os.path.relpath(path, root)] = file.read()
            except UnicodeDecodeError:
                continue  # not text
    return files


def main():
    files = read_tree(sys.argv[1])
    found = Checker(files).run()
    for line in found:
        print(line)
    print(f'{len(files)} files, {len(found)} violations')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
"""Plants one violation of each rule and looks whether it is found, and nothing else is."""
import unittest

import check_style
import cpp_text

HEADER = '#pragma once\n\n// thing.h: a thing.\n//\n// Threads: any.\n\n'
LISTED = {'server/CMakeLists.txt': 'add_library(x thing.cc queue/thing.cc rpc/thing.cc)\n',
          'storage/CMakeLists.txt': 'add_library(y thing.cc)\n',
          'client/CMakeLists.txt': 'add_library(z thing.cc)\n',
          'tests/CMakeLists.txt': 'add_executable(t thing.cc)\n'}


def found(path, text):
    """What is said of one file in a tree that has nothing else to say."""
    lines = check_style.Checker({**LISTED, path: text}).run()
    return [line.split(': ', 1)[1] for line in lines]


def body_of(lines):
    return 'void Run() {\n' + '  Step();\n' * (lines - 2) + '}\n'


class RuleTest(unittest.TestCase):

    def assert_finds(self, path, text, what):
        said = found(path, text)
        self.assertEqual(len(said), 1, f'{path}: {said}')
        self.assertIn(what, said[0])

    def assert_clean(self, path, text):
        self.assertEqual(found(path, text), [])

    def test_long_line(self):
        for path in ('server/thing.cc', 'tests/thing.py', 'deploy/thing.sh', 'cmake/a.cmake'):
            self.assert_finds(path, '#' + 'x' * 100 + '\n', 'line of 101')
            self.assert_clean(path, '#' + 'x' * 99 + '\n')
        self.assert_finds('proto/thing.proto', '//' + 'x' * 119 + '\n', 'line of 121')
        self.assert_finds('README.md', 'x' * 121 + '\n', 'line of 121')
        self.assert_clean('README.md', '| ' + 'x' * 200 + ' |\n')

    def test_long_line_of_a_program_is_its_own_affair(self):
        for path in ('tests/bench/RESULTS.md', 'tests/bench/size.svg'):
            self.assert_clean(path, 'x' * 200 + '\n')
            self.assert_finds(path, 'x' * 200 + ' \n', 'space at the end')
        self.assert_finds('tests/bench/README.md', 'x' * 200 + '\n', 'line of 200')

    def test_spaces_and_tabs(self):
        self.assert_finds('server/thing.cc', 'int x; \n', 'space at the end')
        self.assert_finds('server/thing.cc', '\tint x;\n', 'tab')
        self.assert_finds('server/thing.cc', 'int x;', 'no end of line')

    def test_long_files(self):
        self.assert_finds('server/thing.cc', 'int x;\n' * 501, 'file of 501 lines')
        self.assert_finds('server/thing.h', HEADER + 'int x;\n' * 245, 'file of 251 lines')
        self.assert_finds('tests/thing.cc', 'int x;\n' * 601, 'file of 601 lines')
        self.assert_clean('tests/thing.cc', 'int x;\n' * 600)

    def test_long_function(self):
        self.assert_finds('server/thing.cc', body_of(71), 'function of 71 lines')
        self.assert_clean('server/thing.cc', body_of(70))
        self.assert_finds('deploy/thing.py', 'def run():\n' + '    step()\n' * 70,
                          'function of 71 lines')

    def test_header_top(self):
        self.assert_clean('server/thing.h', HEADER)
        self.assert_finds('server/thing.h', HEADER.replace('#pragma once', ''), '#pragma once')
        self.assert_finds('server/thing.h', HEADER.replace('thing.h:', 'a thing'), 'no purpose')
        self.assert_finds('server/thing.h', HEADER.replace('Threads', 'Fibres'), 'Threads')
        self.assert_finds('server/thing.h', HEADER.replace('// Th', '//\n' * 12 + '// Th'),
                          'Threads')

    def test_words(self):
        for word in ('TO' 'DO', 'FIX' 'ME'):
            self.assert_finds('server/thing.cc', f'// {word}: later\n', 'unfinished')
        for text in ('an age' 'nt wrote this', 'Age' 'nts', 'Clau' 'de', 'Copi' 'lot'):
            self.assert_finds('README.md', text + '\n', 'who wrote it')
        self.assert_finds('README.md', 'a hel' 'per\n', 'what it does')
        self.assert_clean('README.md', 'the user-age' 'nt header of a session\n')

    def test_places(self):
        for text in ('/wor' 'k/main', '../sha' 'red/design', '/tmp/bui' 'ld-x', ' /ro' 'ot/x'):
            self.assert_finds('deploy/thing.sh', f'# see {text}\n', 'path of one machine')
        self.assert_finds('deploy/thing.sh', '# registry.npm' 'js.org\n', 'host of a registry')
        self.assert_clean('deploy/thing.sh', '# see build/work/x and framework/y\n')

    def test_friend(self):
        self.assert_finds('server/thing.cc', 'class A {\n  friend class B;\n};\n', 'friend')
        self.assert_clean('server/thing.cc', '// a friend\nconst char* x = "friend";\n')

    def test_commented_out_code(self):
        for code in ('return x;', 'Foo(bar);', 'x->y = 3;', 'if (a) {', '}', '#include <map>',
                     'std::string name;', 'const int x = 1;'):
            self.assert_finds('server/thing.cc', f'// {code}\n', 'commented-out')
        for prose in ('Foo(bar) is called;', 'the end.', 'a; b', 'or nothing;', 'Step(event)'):
            self.assert_clean('server/thing.cc', f'// {prose}\n')
        self.assert_clean('server/thing.h', HEADER + '//   auto example = Foo();\n')
        self.assert_clean('server/thing.cc', 'const char* url = "http://x.y/z(a);";\n')
        self.assert_finds('tests/CMakeLists.txt', '# set(x 1)\n'
                          + LISTED['tests/CMakeLists.txt'], 'commented-out')

    def test_sleep(self):
        self.assert_finds('tests/thing.cc', 'void F() { std::this_thread::sleep_for(x); }\n',
                          'sleep')
        self.assert_finds('tests/thing.cc', 'void F() { usleep(1); }\n', 'sleep')
        self.assert_finds('tests/thing.py', 'import time\ntime.sleep(1)\n', 'sleep')
        self.assert_finds('tests/thing.sh', '#!/bin/sh\nsleep 1\n', 'sleep')
        self.assert_clean('server/thing.cc', 'void F() { usleep(1); }\n')
        self.assert_clean('tests/thing.cc', '// usleep(1) would do\n')

    def test_unlisted_source(self):
        self.assert_finds('server/other.cc', 'int x;\n', 'in no CMakeLists.txt')
        self.assert_finds('server/deep/thing.cc', 'int x;\n', 'in no CMakeLists.txt')

    def test_includes(self):
        wrong = [('server/thing.cc', 'rocksdb/db.h'), ('server/thing.cc', 'grpcpp/grpcpp.h'),
                 ('server/thing.cc', 'mqd/v1/types.pb.h'),
                 ('server/thing.cc', 'google/protobuf/message.h'),
                 ('server/thing.cc', 'asio.hpp'), ('server/thing.cc', 'client/link.h'),
                 ('server/thing.cc', 'tests/support/x.h'), ('storage/thing.cc', 'server/limits.h'),
                 ('storage/thing.cc', 'client/link.h'), ('client/thing.cc', 'server/limits.h'),
                 ('client/thing.cc', 'storage/types.h'),
                 ('server/queue/thing.cc', 'storage/rocks_store.h'),
                 ('server/queue/thing.cc', 'server/rpc/session.h')]
        for path, header in wrong:
            self.assert_finds(path, f'#include "{header}"\n', f'includes {header}')
        for path in ('server/queue/thing.cc',):  # refused by two rules
            for header in ('rocksdb/db.h', 'grpcpp/grpcpp.h', 'mqd/v1/types.pb.h'):
                self.assertEqual(len(found(path, f'#include "{header}"\n')), 2)
        self.assert_finds('storage/thing.h', HEADER + '#include <rocksdb/db.h>\n', 'rocksdb/db.h')
        public = HEADER + '#include <grpcpp/grpcpp.h>\n'
        self.assert_finds('client/include/mqd/thing.h', public, 'not for client/include/mqd/')
        self.assert_finds('proto/base/thing.h', HEADER + '#include "server/limits.h"\n', 'proto/')

    def test_allowed_includes(self):
        for path, header in [('storage/thing.cc', 'rocksdb/db.h'), ('tests/thing.cc', 'asio.hpp'),
                             ('server/rpc/thing.cc', 'grpcpp/grpcpp.h'),
                             ('server/queue/thing.cc', 'storage/records.h'),
                             ('client/thing.cc', 'mqd/v1/types.pb.h')]:
            self.assert_clean(path, f'#include "{header}"\n')
        self.assert_clean('server/thing.cc', '// as in #include "asio.hpp", but here\n')


class FunctionsTest(unittest.TestCase):
    """The brace matcher on the shapes that this tree has."""

    def assert_functions(self, source, expected):
        self.assertEqual([header for _, _, header in cpp_text.functions(source)], expected)

    def test_constructor_with_brace_initializers(self):
        self.assert_functions('A::A(int x)\n    : a_{x}, b_(new B{x}), c_([] { return 1; }()) {}\n',
                              ['A::A(int x) : a_{x}, b_(new B{x}), c_([] { return 1; }())'])

    def test_members_of_a_class(self):
        source = ('class A final : public B {\n public:\n  int x() const { return x_; }\n'
                  '  void Set(int x) override { x_ = x; }\n\n private:\n  int x_ = {};\n};\n')
        self.assert_functions(source, ['int x() const', 'void Set(int x) override'])

    def test_table_with_lambdas_is_no_function(self):
        source = 'const std::array kKeys = {\n    Key{.slot = [](C& c) -> S { return &c; }},\n};\n'
        self.assert_functions(source + 'int F() { return 1; }\n', ['int F()'])

    def test_braces_in_text_do_not_count(self):
        source = ('const char* a = R"(\n{{{)";\nint F() {\n  char c = \'{\';\n'
                  '  Log("}{{\\"{");  // {\n  return 1\'000;\n}\nint G() { return 2; }\n')
        self.assertEqual([(first, last) for first, last, _ in cpp_text.functions(source)],
                         [(3, 7), (8, 8)])

    def test_templates_tests_and_namespaces(self):
        source = ('namespace a {\nnamespace {\n\ntemplate <class T>\nT F(T t) {\n  return t;\n}\n\n'
                  'TEST_F(Some, Thing) {\n  F(1);\n}\n\nstruct S {};\nenum class E { kA };\n'
                  '#define M(x) \\\n  if (x) {\n}  // namespace\n}  // namespace a\n')
        self.assert_functions(source, ['template <class T> T F(T t)', 'TEST_F(Some, Thing)'])


if __name__ == '__main__':
    unittest.main()

"""Runs test modules: run_tests.py MODULE.. A package that is missing is a failure with its name."""
import sys
import unittest

PACKAGES = {'grpc': 'python3-grpcio', 'google.protobuf': 'python3-protobuf'}


def main(modules):
    if sys.version_info < (3, 11):
        sys.exit(f'needs Python 3.11 or newer, this is {sys.version}')
    for module, package in PACKAGES.items():
        try:
            __import__(module)
        except ImportError as error:
            sys.exit(f'{sys.executable} has no {module} ({error}): apt-get install {package}')
    try:
        __import__('mqd.v1.broker_pb2_grpc')
    except ImportError as error:
        sys.exit(f'no generated stubs on PYTHONPATH ({error}): build the target mqd_python_stubs')
    suite = unittest.defaultTestLoader.loadTestsFromNames(modules)
    if suite.countTestCases() == 0:
        sys.exit(f'no tests in {modules}')
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    return 0 if result.wasSuccessful() and not result.skipped else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

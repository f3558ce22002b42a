"""What a reliability test counted, for the table that tests/gate/report.py prints."""
import json
import os


def add(promise, trials, violations, confirmed=0, note=''):
    """Appends one line of JSON to the file that MQD_FIGURES names; does nothing without it."""
    path = os.environ.get('MQD_FIGURES')
    if not path:
        return
    line = json.dumps({'promise': promise, 'trials': trials, 'confirmed': confirmed,
                       'violations': violations, 'note': note}) + '\n'
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)

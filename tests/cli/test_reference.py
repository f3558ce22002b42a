"""README.md's table of queue settings is what a queue without any setting is told to have."""
import json
import os
import re
import unittest

from daemon import DaemonTest

README = os.path.join(os.path.dirname(__file__), '..', '..', 'README.md')


def documented():
    """{setting: default} of the table, without those whose default is none."""
    with open(README, encoding='utf-8') as file:
        text = file.read()
    table = text.split('### Queue settings')[1].split('\n| setting |')[1].split('\n\n')[0]
    rows = re.findall(r'^\| `(\w+)` \| (?:`([^`]+)`|none) \|', table, re.M)
    return {name: default for name, default in rows if default}


class ReferenceTest(DaemonTest):
    def test_the_settings_table_has_every_setting_and_its_default(self):
        shown = self.json('queue', 'get', self.queue())['settings']
        shown = {name: json.dumps(value).strip('"') for name, value in shown.items() if value != ''}
        self.assertEqual(documented(), shown)

    def test_every_setting_of_the_table_is_a_flag_of_create_and_update(self):
        for verb in ('create', 'update'):
            flags = self.run_mqctl('queue', verb, '--help').stdout
            for name in documented():
                self.assertIn('--' + name.replace('_', '-'), flags)


if __name__ == '__main__':
    unittest.main()

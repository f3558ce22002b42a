"""The systems that are measured: how each is started, stopped and watched.

Every broker gets a data directory and a port of its own on loopback. It is stopped by the id of
the process that was started here; one that a package runs as a service is never touched.
"""
import os
import signal
import socket
import subprocess
import threading
import time

HOST = '127.0.0.1'
START_SECONDS = 60
STOP_SECONDS = 30
NOTHING = threading.Event()  # never set: a wait for it is a pause between two looks


class BenchError(Exception):
    pass


class Broker:
    """One process that holds queues."""

    name = ''
    package = ''  # of Debian; empty: built here

    def __init__(self, root, port, build):
        self.dir = os.path.join(root, self.name)
        self.port = port
        self.build = build
        self.process = None
        self.suspended = False

    @property
    def address(self):
        return f'{HOST}:{self.port}'

    def command(self):
        raise NotImplementedError

    def environment(self):
        return None

    def prepare(self):
        """Writes configuration files into self.dir."""

    def start(self):
        os.makedirs(self.dir, exist_ok=True)
        if port_open(self.port):
            raise BenchError(f'port {self.port} is in use; {self.name} cannot be started')
        self.prepare()
        self.launch()
        self.wait_for(lambda: port_open(self.port))

    def launch(self):
        with open(os.path.join(self.dir, 'output.log'), 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.dir, env=self.environment(),
                                            start_new_session=True)
        self.suspended = False

    def wait_for(self, ready):
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.process.poll() is not None:
                raise BenchError(f'{self.name} ended with {self.process.returncode}; '
                                 f'see {self.dir}/output.log')
            if time.monotonic() > deadline:
                raise BenchError(f'{self.name} did not start in {START_SECONDS} s')
            NOTHING.wait(0.02)

    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def suspend(self):
        """What is not being measured does not run."""
        if self.alive() and not self.suspended:
            os.kill(self.pid(), signal.SIGSTOP)
            self.suspended = True

    def resume(self):
        if not self.alive():
            raise BenchError(f'{self.name} is not running; see {self.dir}/output.log')
        if self.suspended:
            os.kill(self.pid(), signal.SIGCONT)
            self.suspended = False

    def stop(self):
        if not self.alive():
            return
        self.resume()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # ---- what the kernel says of it
    def written_bytes(self):
        return proc_number(self.pid(), 'io', 'write_bytes:')

    def resident_bytes(self):
        return proc_number(self.pid(), 'status', 'VmRSS:') * 1024

    def cpu_seconds(self):
        with open(f'/proc/{self.pid()}/stat', encoding='ascii') as file:
            fields = file.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Mqd(Broker):
    name = 'mqd'

    def command(self):
        return [os.path.join(self.build, 'server/mqd'), '--data', os.path.join(self.dir, 'data'),
                '--listen', self.address, '--http-listen', 'off']


class NullBroker(Broker):
    name = 'null_broker'

    def command(self):
        return [os.path.join(self.build, 'tests/bench/null_broker'), self.address]


class Redis(Broker):
    name = 'redis'
    package = 'redis-server'

    def command(self):
        return ['redis-server', '--bind', HOST, '--port', str(self.port), '--dir', self.dir,
                '--appendonly', 'yes', '--appendfsync', 'always', '--save', '',
                '--daemonize', 'no']


class Nats(Broker):
    name = 'nats'
    package = 'nats-server'

    def prepare(self):
        with open(os.path.join(self.dir, 'nats.conf'), 'w', encoding='ascii') as file:
            file.write(f'listen: {self.address}\nmax_payload: 8MB\n'
                       f'jetstream {{ store_dir: "{self.dir}/store", max_file: 60GB }}\n')

    def command(self):
        return ['nats-server', '-c', os.path.join(self.dir, 'nats.conf')]


class Beanstalkd(Broker):
    name = 'beanstalkd'
    package = 'beanstalkd'

    def prepare(self):
        os.makedirs(os.path.join(self.dir, 'binlog'), exist_ok=True)

    def command(self):
        return ['beanstalkd', '-l', HOST, '-p', str(self.port), '-b',
                os.path.join(self.dir, 'binlog'), '-f', '0', '-z', '2000000']


class RabbitMq(Broker):
    """A node with an epmd of its own; its beam is a child of the script that starts it."""

    name = 'rabbitmq'
    package = 'rabbitmq-server'
    scripts = '/usr/lib/rabbitmq/bin'

    def __init__(self, root, port, build):
        super().__init__(root, port, build)
        self.epmd = None
        self.pid_file = os.path.join(self.dir, 'pid')

    def prepare(self):
        self.write('rabbitmq.conf', f'listeners.tcp.default = {self.address}\n'
                   'disk_free_limit.absolute = 1GB\n')
        self.write('enabled_plugins', '[].\n')
        self.write('env.conf', '')

    def write(self, name, text):
        with open(os.path.join(self.dir, name), 'w', encoding='ascii') as file:
            file.write(text)

    def environment(self):
        return {'PATH': os.environ['PATH'], 'HOME': self.dir, 'LANG': 'C.UTF-8',
                'ERL_EPMD_PORT': str(self.port + 1), 'ERL_EPMD_ADDRESS': HOST,
                'RABBITMQ_NODENAME': 'mqdbench@localhost',
                'RABBITMQ_DIST_PORT': str(self.port + 2),
                'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                    '-kernel inet_dist_use_interface {127,0,0,1}',
                'RABBITMQ_MNESIA_BASE': os.path.join(self.dir, 'mnesia'),
                'RABBITMQ_LOG_BASE': os.path.join(self.dir, 'log'),
                'RABBITMQ_CONFIG_FILE': os.path.join(self.dir, 'rabbitmq.conf'),
                'RABBITMQ_CONF_ENV_FILE': os.path.join(self.dir, 'env.conf'),
                'RABBITMQ_ENABLED_PLUGINS_FILE': os.path.join(self.dir, 'enabled_plugins'),
                'RABBITMQ_PID_FILE': self.pid_file}

    def command(self):
        return [os.path.join(self.scripts, 'rabbitmq-server')]

    def launch(self):
        self.epmd = subprocess.Popen(['epmd', '-port', str(self.port + 1), '-address', HOST],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, start_new_session=True)
        super().launch()

    def pid(self):
        with open(self.pid_file, encoding='ascii') as file:
            return int(file.read())

    def stop(self):
        if self.alive():
            self.resume()
            os.kill(self.pid(), signal.SIGTERM)
        super().stop()
        if self.epmd is not None:
            self.epmd.terminate()
            self.epmd.wait()
            self.epmd = None


class System:
    """A broker, the driver that speaks to it, and what its confirm is worth."""

    def __init__(self, name, broker, driver, arguments, durability, durable):
        self.name = name
        self.broker = broker
        self.driver = driver
        self.arguments = arguments
        self.durability = durability
        self.durable = durable  # a peer whose confirm survives a power cut


def all_systems(root, build, base_port):
    """The brokers by name, and the systems by name."""
    kinds = [Mqd, NullBroker, Redis, Nats, Beanstalkd, RabbitMq]
    brokers = {kind.name: kind(root, base_port + number, build)
               for number, kind in enumerate(kinds)}  # RabbitMq is last: it takes three ports
    listed = [
        System('mqd', brokers['mqd'], 'mqd', [], 'SYNC: fsync before the confirm', True),
        System('mqd memory', brokers['mqd'], 'mqd', ['--durability', 'memory'],
               'MEMORY: never on disk', False),
        System('null broker', brokers['null_broker'], 'mqd', [], 'none: keeps nothing', False),
        System('redis streams', brokers['redis'], 'redis', [],
               'appendfsync always: fsync before the reply', True),
        System('rabbitmq quorum', brokers['rabbitmq'], 'rabbitmq', ['--kind', 'quorum'],
               'quorum queue of one node: fsync before the confirm', True),
        System('rabbitmq classic', brokers['rabbitmq'], 'rabbitmq', ['--kind', 'classic'],
               'durable queue, persistent messages: fsync before the confirm', True),
        System('beanstalkd', brokers['beanstalkd'], 'beanstalkd', [],
               '-f 0: fsync at each write', True),
        System('nats jetstream', brokers['nats'], 'nats', [],
               'file storage: written, fsync every 2 minutes', False),
    ]
    return brokers, {system.name: system for system in listed}


def port_open(port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def proc_number(pid, file_name, key):
    with open(f'/proc/{pid}/{file_name}', encoding='ascii') as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1])
    return 0

"""A small file system of its own for a directory, seen by this process and its children only."""
import ctypes
import os
import subprocess
import tempfile

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000


class SmallVolume:
    """A tmpfs of `size` bytes in a mount namespace; needs root or user namespaces (unshare(2))."""

    _entered = False

    def __init__(self, size):
        self._enter_namespace()
        self.path = tempfile.mkdtemp(prefix='mqd-volume-')
        self._filler = os.path.join(self.path, 'filler')
        self._run('mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', self.path)

    @classmethod
    def _enter_namespace(cls):
        """Once a process, before it has threads: children inherit what this thread sees."""
        if cls._entered:
            return
        user, group = os.getuid(), os.getgid()
        flags = CLONE_NEWNS if user == 0 else CLONE_NEWNS | CLONE_NEWUSER
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(flags) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise RuntimeError(f'no mount namespace: unshare: {reason}. Run this as root, with '
                               'CAP_SYS_ADMIN in a container, or allow user namespaces')
        if user != 0:
            for name, line in (('setgroups', 'deny'), ('uid_map', f'0 {user} 1'),
                               ('gid_map', f'0 {group} 1')):
                with open(f'/proc/self/{name}', 'w', encoding='ascii') as file:
                    file.write(line)
        cls._run('mount', '--make-rprivate', '/')
        cls._entered = True

    @staticmethod
    def _run(*command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise RuntimeError(f'{" ".join(command)}: {done.stderr.strip()}')

    def free(self):
        info = os.statvfs(self.path)
        return info.f_bavail * info.f_frsize

    def leave_free(self, size):
        """Takes up room, or gives some back, until `size` bytes are free."""
        held = os.path.getsize(self._filler) if os.path.exists(self._filler) else 0
        with open(self._filler, 'ab') as file:
            wanted = max(0, held + self.free() - size)
            if wanted > held:
                os.posix_fallocate(file.fileno(), held, wanted - held)
            else:
                os.ftruncate(file.fileno(), wanted)

    def give_back(self):
        os.unlink(self._filler)

    def remove(self):
        self._run('umount', '--lazy', self.path)
        os.rmdir(self.path)

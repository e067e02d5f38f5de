from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featmap import writing
from featmap.errors import OutputError
from featmap.sinks import save_image
from featmap.writing import atomic_write, check_writable, prepare, refuse_overwriting, remove_stale, write_atomically

PATCHES = np.zeros((16, 32, 3), np.uint8)


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*'))


def test_checking_leaves_nothing_behind(tmp_path):
    (tmp_path / 'old.png').write_bytes(b'old')
    for name in ('new.png', 'old.png', 'a/b/c/new.png'):
        check_writable(tmp_path / name)
    prepare([tmp_path / 'a/1.png', tmp_path / 'a/2.png'])
    prepare([])
    assert tree(tmp_path) == ['old.png']
    assert (tmp_path / 'old.png').read_bytes() == b'old'


@pytest.mark.parametrize(
    ('place', 'message'),
    [
        ('folder', 'is a folder: expected the name of a file'),
        ('file/x.png', "file' is a file where a folder is needed"),
        ('file/a/b/x.png', "file' is a file where a folder is needed"),
        ('folder/to_file/x.png', "file' is a file where a folder is needed"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path, place, message):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_bytes(b'x')
    (tmp_path / 'folder/to_file').symlink_to(tmp_path / 'file')
    with pytest.raises(OutputError, match=message):
        check_writable(tmp_path / place)
    with pytest.raises(OutputError, match=message):
        prepare([tmp_path / 'fine.png', tmp_path / place])
    with pytest.raises(OutputError, match='cannot be written'):
        write_atomically(tmp_path / place, b'x')
    assert tree(tmp_path) == ['file', 'folder', 'folder/to_file']


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='no folder refuses even root here; runs on Linux')
def test_a_folder_that_refuses_even_root():
    for write in (check_writable, lambda path: write_atomically(path, b'x')):
        with pytest.raises(OutputError, match=r"'/proc/x\.png' cannot be written"):
            write('/proc/x.png')


def test_a_write_protected_result_stays(tmp_path, monkeypatch):
    (tmp_path / 'x.png').write_bytes(b'x')
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(OutputError, match='write-protected'):
        check_writable(tmp_path / 'x.png')


def test_writing_replaces_whole_and_keeps_links(tmp_path):
    path = tmp_path / 'a b' / 'ö' / 'x.bin'
    write_atomically(path, b'one')
    write_atomically(str(path), b'two')
    (tmp_path / 'link').symlink_to(path)
    write_atomically(tmp_path / 'link', b'three')
    assert path.read_bytes() == b'three'
    assert (tmp_path / 'link').is_symlink()
    assert tree(tmp_path) == ['a b', 'a b/ö', 'a b/ö/x.bin', 'link']


def test_others_write_through_the_same_door(tmp_path):
    with atomic_write(tmp_path / 'x.npz') as file:
        np.savez(file, maps=np.arange(3))
        assert not (tmp_path / 'x.npz').exists()
    np.testing.assert_array_equal(np.load(tmp_path / 'x.npz')['maps'], [0, 1, 2])
    assert tree(tmp_path) == ['x.npz']


@pytest.mark.skipif(os.name == 'nt', reason='POSIX permission bits; runs on Linux and macOS')
def test_a_result_has_ordinary_permissions(tmp_path):
    (tmp_path / 'ordinary').write_bytes(b'x')
    write_atomically(tmp_path / 'result', b'x')
    modes = {(tmp_path / name).stat().st_mode for name in ('ordinary', 'result')}
    assert len(modes) == 1


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    (tmp_path / 'x').write_bytes(b'old')

    def write_and_fail():
        with atomic_write(tmp_path / 'x') as file:
            file.write(b'new')
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert tree(tmp_path) == ['x']
    assert (tmp_path / 'x').read_bytes() == b'old'


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OutputError, match=r'No space left on device; .*make room'):
        save_image(np.zeros((2, 2, 3), np.uint8), tmp_path / 'x.png')
    assert tree(tmp_path) == []


# --- what killed runs leave


def temporary(folder: Path, process: int, host: str = writing._HOST) -> Path:
    path = folder / f'.featmap-{host}-{process}-{"0" * 32}.tmp'
    path.write_bytes(b'half')
    return path


def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    stale = temporary(tmp_path, dead.pid)
    mine, parents = temporary(tmp_path, os.getpid()), temporary(tmp_path, os.getppid())
    foreign, old = temporary(tmp_path, dead.pid, 'ffffffff'), temporary(tmp_path, 1, 'eeeeeeee')
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    other = tmp_path / '.dog.tmp'
    other.touch()
    prepare([tmp_path / 'a.png', tmp_path / 'b.png'])
    assert not stale.exists()
    assert not old.exists()
    assert all(path.exists() for path in (mine, parents, foreign, other))
    remove_stale(tmp_path / 'nowhere')


def test_a_run_that_is_killed_while_it_writes_leaves_what_the_next_one_knows(tmp_path):
    code = (
        'import os, signal\n'
        'from featmap.writing import atomic_write\n'
        f'with atomic_write({str(tmp_path / "dog.png")!r}) as file:\n'
        "    file.write(b'half')\n"
        '    file.flush()\n'
        '    os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == -9
    assert len(tree(tmp_path)) == 1
    prepare([tmp_path / 'dog.png'])
    assert tree(tmp_path) == []


# --- what is read is never written


@pytest.mark.parametrize('kind', ['itself', 'link', 'hard link', 'dots'])
def test_what_is_read_is_not_overwritten_by_any_name(tmp_path, kind):
    read = tmp_path / 'ck.npz'
    read.write_bytes(b'weights')
    other = {'itself': read, 'dots': tmp_path / 'a' / '..' / 'ck.npz'}.get(kind, tmp_path / 'other.npz')
    (tmp_path / 'a').mkdir()
    if kind == 'link':
        other.symlink_to(read)
    if kind == 'hard link':
        os.link(read, other)
    with pytest.raises(OutputError, match='would overwrite the checkpoint: choose another name or folder'):
        refuse_overwriting([tmp_path / 'fine.npz', other], {str(read): 'the checkpoint', 'http://x/y.npz': 'an image'})
    refuse_overwriting([tmp_path / 'fine.npz'], {str(read): 'the checkpoint'})

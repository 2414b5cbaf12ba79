"""Files are there whole, or as they were."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import filelock
import pytest

from asteroid import files


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "file"
    with files.replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_an_error_says_what_could_not_be_written_and_where(tmp_path):
    error, path = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), tmp_path / "file"
    with pytest.raises(OSError, match="could not write the record") as caught, files.replacing(path, "the record"):
        raise error
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)


def test_where_no_folder_can_be_made_the_error_says_so_too(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "record.json"
    with pytest.raises(OSError, match="could not write the record") as caught, files.replacing(path, "the record"):
        pass
    assert caught.value.filename == str(path)


def test_of_several_writers_each_leaves_a_whole_file(tmp_path):
    path, together = tmp_path / "file", Barrier(4)

    def write(letter):
        with files.replacing(path) as temporary:
            together.wait(timeout=30)
            temporary.write_text(letter * 100_000)
            together.wait(timeout=30)

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(write, "abcd"))
    assert len(set(path.read_text())) == 1 and path.stat().st_size == 100_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name_is_its_beginning_and_a_hash_and_can_be_written(tmp_path):
    assert files.short("C" * 120) == "C" * 120
    long, other = "é" * 300, "é" * 301
    assert files.short(long).startswith("é" * 50 + "-") and files.short(long) != files.short(other)
    path = tmp_path / ("C" * 250)
    with files.replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_a_name_as_long_as_file_systems_take_is_written(tmp_path):
    path = tmp_path / ("ü" * 125 + ".json")
    with files.replacing(path) as temporary:
        temporary.write_text("{}")
    assert path.read_text() == "{}" and list(tmp_path.iterdir()) == [path]


def test_a_lock_is_held_by_one_thread_at_a_time(tmp_path):
    path = tmp_path / "folder" / "file"
    with ThreadPoolExecutor(1) as executor, files.locked(path):
        refused = executor.submit(lambda: files.locked(path, wait=False).__enter__())
        assert isinstance(refused.exception(), filelock.Timeout)
    with files.locked(path, wait=False):
        pass
    assert list(path.parent.iterdir()) == []


def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    path = tmp_path / "file"
    program = "import pathlib, sys; from asteroid import files\n"
    program += "with files.locked(pathlib.Path(sys.argv[1])): print(); input()"
    command = [sys.executable, "-uc", program, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(filelock.Timeout), files.locked(path, wait=False):
        pass
    holder.kill()
    holder.communicate()
    with files.locked(path, wait=False):
        pass

"""The worker's rule: one job in work, the newest waits, older ones are dropped and reported."""

import threading

from node_helpers import wait_for

from dvps_ros.nodes.worker import LatestWorker


class Slow:
    """A worker whose jobs end when told to."""

    def __init__(self):
        self.done, self.replaced, self.errors = [], [], []
        self.started, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.worker = LatestWorker(self.work, self.replaced.append, lambda _, error: self.errors.append(error))

    def work(self, job):
        self.started.release()
        assert self.go_on.acquire(timeout=5)
        if isinstance(job, Exception):
            raise job
        self.done.append(job)


def test_newest_waits_and_older_are_reported():
    slow = Slow()
    slow.worker.submit(0)
    assert slow.started.acquire(timeout=5)
    for job in (1, 2, 3):
        slow.worker.submit(job)
    assert slow.replaced == [1, 2]
    slow.go_on.release(2)
    wait_for(lambda: slow.done == [0, 3])
    assert slow.worker.wait_idle(5)
    assert slow.worker.stop(5)


def test_a_failed_job_does_not_end_the_thread():
    slow = Slow()
    error = ValueError("broken")
    slow.worker.submit(error)
    slow.go_on.release()
    wait_for(lambda: slow.errors == [error])
    slow.worker.submit("next")
    slow.go_on.release()
    wait_for(lambda: slow.done == ["next"])
    assert slow.worker.stop(5)


def test_stop_does_not_wait_longer_than_told_nor_start_what_waits():
    slow = Slow()
    slow.worker.submit(0)
    assert slow.started.acquire(timeout=5)
    slow.worker.submit(1)
    assert not slow.worker.wait_idle(0.01)
    assert not slow.worker.stop(0.01)
    slow.go_on.release(2)
    assert slow.worker.stop(5)
    assert slow.done == [0]

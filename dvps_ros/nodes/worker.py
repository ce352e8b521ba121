"""A thread that works on one frame while at most one, the newest, waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class LatestWorker(Generic[Job]):
    """Runs ``work(job)`` on a thread of its own; a newer job replaces the one that waits.

    Parameters
    ----------
    work : called on the thread, one job at a time.
    on_replaced : called on the submitting thread with a job that a newer one has replaced.
    on_error : called on the thread with a job and the exception that ``work`` raised; the thread continues.
    """

    def __init__(
        self,
        work: Callable[[Job], None],
        on_replaced: Callable[[Job], None],
        on_error: Callable[[Job, Exception], None],
    ) -> None:
        self._work, self._on_replaced, self._on_error = work, on_replaced, on_error
        self._condition = threading.Condition()
        self._waiting: Job | None = None
        self._busy = False
        self._stopped = False
        # a daemon thread, so that a network step that hangs does not keep the process alive
        self._thread = threading.Thread(target=self._run, name="perception_worker", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand over a job; never blocks."""
        with self._condition:
            replaced, self._waiting = self._waiting, job
            self._condition.notify_all()
        if replaced is not None:
            self._on_replaced(replaced)

    def clear(self) -> Job | None:
        """Remove the job that waits, and return it."""
        with self._condition:
            removed, self._waiting = self._waiting, None
        return removed

    def wait_idle(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until no job is in work or waits; False on timeout."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._busy and self._waiting is None, timeout)

    def stop(self, timeout: float) -> bool:
        """Remove the waiting job and end the thread after the one in work; False on timeout."""
        with self._condition:
            self._waiting, self._stopped = None, True
            self._condition.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._stopped or self._waiting is not None)
                if self._stopped or self._waiting is None:
                    return
                job, self._waiting = self._waiting, None
                self._busy = True
            try:
                self._work(job)
            except Exception as error:
                self._on_error(job, error)
            del job  # or its image would be kept until the next job

"""Several phones at once: each has its own thread, its own journal, its own rows."""

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from bench.android.answers import Prepared, prepared
from bench.android.launch import Tell
from bench.android.phones import PhoneBench, unmeasured
from bench.record import Measurement
from bench.session.cells import Cell, Plan
from bench.session.resume import Place
from distill.errors import ToolError, UsageError
from export.artifact.manifest import Manifest

Row = tuple[Cell, Measurement]


@dataclass(frozen=True)
class Fleet:
    """Phones that measure the same cells side by side. What goes wrong with one costs only its own rows."""

    benches: tuple[PhoneBench, ...]

    def refusal(self, manifest: Manifest) -> str | None:
        """Why the instrument, which is the same on all, cannot run an artifact, or None."""
        return self.benches[0].refusal(manifest)

    def caution(self) -> str | None:
        """What every phone has to say; one that cannot be measured gives failed rows later."""
        told: list[str] = []
        for bench in self.benches:
            try:
                caution = bench.caution()
            except ToolError as error:
                caution = str(error)
            told += [f"{bench.phone.serial}: {caution}"] if caution else []
        return "; ".join(told) or None

    def spread(self, plan: Plan) -> Plan:
        """As of any of the phones, of which the same is asked."""
        return self.benches[0].spread(plan)

    def place(self) -> Place:
        """No session of several phones can go on.

        Raises:
            UsageError: always; says how one phone can.
        """
        raise UsageError("--resume goes on with one phone. Name it with --serial instead of --all-devices.")

    def measure_all(self, cells: Sequence[Cell], *, run_id: str, tell: Tell) -> Generator[Row]:
        """All cells on all phones; rows as they come. A defect in one thread is raised when all have ended."""
        with prepared(cells, self.benches[0].accuracy, self.benches[0].path, tell) as ready:
            yield from self._measure_all(ready, cells, run_id, tell)

    def _measure_all(self, ready: Prepared, cells: Sequence[Cell], run_id: str, tell: Tell) -> Generator[Row]:
        stop = threading.Event()
        outcomes: queue.Queue[Row | BaseException | None] = queue.Queue()
        threads = [
            threading.Thread(target=self._run, args=(bench, ready, cells, run_id, tell, stop, outcomes), daemon=True)
            for bench in self.benches
        ]
        for thread in threads:
            thread.start()
        try:
            yield from self._collect(outcomes, stop)
        finally:
            # Each thread ends at its next word; its phone is still to be restored.
            stop.set()
            for thread in threads:
                thread.join()

    def _collect(self, outcomes: "queue.Queue[Row | BaseException | None]", stop: threading.Event) -> Iterator[Row]:
        running, failure = len(self.benches), None
        while running:
            try:
                item = outcomes.get()
            except KeyboardInterrupt as error:
                stop.set()
                failure = error
                continue
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                failure = failure or item
            else:
                yield item
        if failure:
            raise failure

    def _run(
        self,
        bench: PhoneBench,
        ready: Prepared,
        cells: Sequence[Cell],
        run_id: str,
        tell: Tell,
        stop: threading.Event,
        outcomes: "queue.Queue[Row | BaseException | None]",
    ) -> None:
        serial = bench.phone.serial

        def heard(text: str) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            tell(f"{serial}: {text}")

        told: set[int] = set()
        try:
            bench.caution()
            for cell, row in bench.measure_with(ready, cells, run_id=run_id, tell=heard):
                told.add(id(cell))
                outcomes.put((cell, row))
        except ToolError as error:
            for cell in cells:
                if id(cell) not in told:
                    outcomes.put((cell, unmeasured(cell, bench, run_id, str(error))))
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            outcomes.put(error)
        finally:
            outcomes.put(None)

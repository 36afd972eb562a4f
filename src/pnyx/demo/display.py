"""The live picture of a running demonstration, drawn on stderr."""

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from pnyx.demo.study import STATISTICS_ROUNDS
from pnyx.demo.watch import Watch

_BARS = "▁▂▃▄▅▆▇█"


class Display:
    """Draws progress on a terminal; prints plain lines elsewhere."""

    def __init__(self, console: Console, nodes: int, rounds: int) -> None:
        self._console = console
        self._nodes = nodes
        self._rounds = rounds
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._said: set[int] = set()

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False)

    def update(self, watch: Watch, alive: list[bool], stage: str) -> None:
        """Redraw, or print the rounds that are new."""
        if self._console.is_terminal:
            self._live.update(self._picture(watch, alive, stage))
            return
        for number in sorted(set(watch.rounds) - self._said):
            self._said.add(number)
            self.say(self._line(watch, number))

    def _line(self, watch: Watch, number: int) -> str:
        figures = watch.rounds[number]
        number -= STATISTICS_ROUNDS
        if number < 1:
            return f"statistics: {figures.contributors} owners"
        if number > self._rounds:
            return f"evaluation: {figures.contributors} owners"
        accuracy = _accuracy(figures.metrics)
        shown = f", model before it {100 * accuracy:.1f} %" if accuracy is not None else ""
        outcome = "skipped" if figures.skipped else f"{figures.contributors} contributors"
        return f"round {number} of {self._rounds}: {outcome}{shown}"

    def _picture(self, watch: Watch, alive: list[bool], stage: str) -> Group:
        trained = [n for n in sorted(watch.rounds) if n > STATISTICS_ROUNDS][: self._rounds]
        nodes = Text("nodes   ")
        for up in alive:
            nodes.append("●" if up else "✗", style="green" if up else "bold red")
        curve = [_accuracy(watch.rounds[n].metrics) for n in trained]
        accuracies = [value for value in curve if value is not None]
        chart = Text("shared  ")
        chart.append("".join(_BARS[min(7, int(value * 8))] for value in accuracies), style="cyan")
        if accuracies:
            chart.append(f"  {100 * accuracies[-1]:.1f} %")
        bar = ProgressBar(total=self._rounds, completed=len(trained), width=40)
        latest = self._line(watch, max(watch.rounds)) if watch.rounds else stage
        return Group(nodes, chart, bar, Text(latest, style="dim"))


def _accuracy(metrics: list[int]) -> float | None:
    return metrics[0] / metrics[1] if len(metrics) >= 2 and metrics[1] else None

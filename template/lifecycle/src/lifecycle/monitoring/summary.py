"""The figures of a monitoring report in a few lines, for the terminal."""

from typing import Any


def summary(document: dict[str, Any]) -> list[str]:
    """Return the figures of a report in a few lines: windows, quality, calibration, and what was left out."""
    windows = [f"{each['from'][:10]} to {each['to'][:10]}: {_window(each)}" for each in document["windows"]]
    lines, quality = [f"windows: {'; '.join(windows)}"], document["quality"] or {}
    if overall := quality.get("overall"):
        bound = "" if quality["bound"] is None else f"; holdout {quality['expected']:.3f}, bound {quality['bound']:.3f}"
        interval = f"{overall['value']:.3f} ({overall['lower']:.3f} to {overall['upper']:.3f})"
        lines.append(f"{quality['metric']} {interval} on {overall['rows']:,} labelled predictions{bound}")
    if calibration := quality.get("calibration"):
        text = f"Brier score {quality['brier']:.3f}, expected calibration error {calibration['error']:.3f}"
        text += f" (perfect probabilities: about {calibration['chance']:.3f} by chance)"
        if at := quality["at_threshold"]:
            shares = {name: "undefined" if at[name] is None else f"{at[name]:.2f}" for name in ("precision", "recall")}
            text += (
                f"; at the threshold {at['threshold']:g}: precision {shares['precision']}, recall {shares['recall']}"
            )
        lines.append(text)
    left_out = [each["text"] for each in document["left_out"]]
    return [*lines, f"left out: {'; '.join(left_out) or 'nothing'}"]


def _window(window: dict[str, Any]) -> str:
    return str(window["state"]) if not window["rows"] else f"{window['rows']:,} rows, {window['state']}"

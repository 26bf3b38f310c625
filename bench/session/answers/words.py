"""Answers to held-out pictures in a sentence or two."""

from bench.record.answered import Answered

SHOWN = 3


def in_words(answered: Answered) -> str:
    """Accuracy with its interval, what differs from eager, and what is wrong."""
    low, high = (100 * end for end in answered.accuracy_interval)
    count = answered.answers.num_images
    parts = [f"{100 * answered.accuracy:.1f} % ({low:.1f}-{high:.1f}) of {count} pictures are answered rightly there"]
    eager = answered.eager
    if eager is not None and answered.agreement is not None:
        parts.append(
            f"eager {100 * eager.accuracy:.1f} %, p = {eager.p_value:.2g} that both are equally good "
            f"(right only there {eager.only_here}, only in eager {eager.only_eager})"
        )
        shift = 100 * (answered.confidence - eager.confidence)
        parts.append(f"{100 * answered.agreement:.1f} % agree with eager, confidence {shift:+.1f} points")
        if eager.changed:
            named = ", ".join(
                f"{each.picture} ({each.eager} to {each.here or 'none'})" for each in eager.changed[:SHOWN]
            )
            more = f" and {len(eager.changed) - SHOWN} more" if len(eager.changed) > SHOWN else ""
            parts.append(f"changed: {named}{more}")
    if answered.unreadable:
        parts.append(f"{len(answered.unreadable)} cannot be decoded there: {answered.unreadable[0]}")
    if answered.rewritten:
        parts.append(f"{answered.rewritten} went there as PNG, their formats being none of a phone's")
    if answered.fault:
        parts.insert(0, f"WRONG: {answered.fault}")
    return "; ".join(parts)

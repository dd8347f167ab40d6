"""The accent colour as a style sheet: on light and on dark ground, always readable."""

from __future__ import annotations

import colorsys

_LIGHT, _DARK = (1.0, 1.0, 1.0), (0.078, 0.094, 0.122)
_LEAST = 4.8
"""Contrast with the ground: WCAG 2.2 wants 4.5 for text (1.4.3); tinted grounds take a little."""

Colour = tuple[float, float, float]


def theme(accent: str) -> str:
    """A style sheet that sets ``--accent`` and ``--on-accent``.

    Args:
        accent: ``#rrggbb``; it is made darker or lighter until text in it can be read.
    """
    wanted: Colour = tuple(int(accent[n : n + 2], 16) / 255 for n in (1, 3, 5))  # type: ignore[assignment]
    light, dark = _readable(wanted, _LIGHT, -0.02), _readable(wanted, _DARK, 0.02)
    on_dark = f":root{{--accent:{_text(dark)};--on-accent:#14181f}}"
    return (
        f":root{{--accent:{_text(light)};--on-accent:#fff}}\n"
        f"@media (prefers-color-scheme:dark){{{on_dark}}}\n"
    )


def _readable(colour: Colour, ground: Colour, step: float) -> Colour:
    hue, lightness, saturation = colorsys.rgb_to_hls(*colour)
    while _contrast(colour, ground) < _LEAST and 0 < lightness + step < 1:
        lightness += step
        colour = colorsys.hls_to_rgb(hue, lightness, saturation)
    return colour


def _contrast(one: Colour, other: Colour) -> float:
    """The contrast ratio of WCAG 2.2, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _text(colour: Colour) -> str:
    return "#" + "".join(f"{round(c * 255):02x}" for c in colour)

"""Line charts as SVG: names below, a logarithmic scale of values at the side."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 80, 190, 56, 50
COLOURS = {'mqd': '#c2185b', 'mqd memory': '#f06292', 'null broker': '#9e9e9e',
           'redis streams': '#d84315', 'rabbitmq quorum': '#ef6c00', 'rabbitmq classic': '#f9a825',
           'beanstalkd': '#2e7d32', 'nats jetstream': '#1565c0'}
DASHES = {'': '', 'p50': '', 'p99': ' stroke-dasharray="6 4"'}


class Scale:
    """Decades, from below the least value to above the greatest."""

    def __init__(self, values):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))

    def y(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def decades(self):
        return [10 ** power for power in range(self.low, self.high + 1)]


def text(x, y, words, anchor='start', size=12, colour='#333'):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'fill="{colour}">{escape(words)}</text>')


def line(x1, y1, x2, y2, colour='#ddd'):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def grid(scale, labels, x_of):
    parts = []
    for value in scale.decades():
        y = scale.y(value)
        parts += [line(LEFT, y, WIDTH - RIGHT, y), text(LEFT - 8, y + 4, f'{value:,.0f}', 'end')]
    for index, label in enumerate(labels):
        parts.append(text(x_of(index), HEIGHT - BOTTOM + 20, label, 'middle'))
    parts.append(line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, '#333'))
    return parts


def curve(scale, values, x_of, colour, dash):
    points = [(x_of(index), scale.y(value)) for index, value in enumerate(values) if value]
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
    return parts + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]


def chart(title, unit, labels, curves):
    """`curves`: (system, '' or 'p50' or 'p99', a value or None for each label)."""
    scale = Scale([value for _, _, values in curves for value in values if value])
    step = (WIDTH - LEFT - RIGHT) / max(1, len(labels) - 1)

    def x_of(index):
        return LEFT + index * step

    parts = [text(LEFT, 24, title, size=16), text(LEFT, 42, unit, colour='#666')]
    parts += grid(scale, labels, x_of)
    y = TOP + 10
    for name, style, values in curves:
        colour = COLOURS.get(name, '#000')
        parts += curve(scale, values, x_of, colour, DASHES[style])
        x = WIDTH - RIGHT + 16
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 24}" y2="{y - 4}" stroke="{colour}" '
                     f'stroke-width="2"{DASHES[style]}/>')
        parts.append(text(x + 30, y, f'{name} {style}'.strip()))
        y += 18
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {max(HEIGHT, y)}" '
            f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>\n'
            + '\n'.join(parts) + '\n</svg>\n')

"""The figures. In each module ``*_info(rows)`` says what is shown and ``*_figure(info)`` draws it: both are pure."""

from dashboards.figures.costs import cost_drawing, time_drawing
from dashboards.figures.curves import curves_drawing
from dashboards.figures.depth import depth_drawing
from dashboards.figures.drawing import Drawing
from dashboards.figures.front import front_drawing
from dashboards.figures.importance import importance_drawing
from dashboards.figures.parallel import parallel_drawing
from dashboards.figures.scenarios import map_drawing
from dashboards.rows import Rows


def draw(rows: Rows, most: int) -> list[Drawing]:
    """All figures of a study, in the order of the page, with at most ``most`` checkpoints in any of them.

    A line is as long as a study has epochs, and takes as much room as that many points.
    """
    lines = max(most // max(rows.spec["budget"]["epochs"], 9), 1)
    return [
        front_drawing(rows, most),
        map_drawing(rows, most),
        depth_drawing(rows, most // 2),
        curves_drawing(rows, lines),
        time_drawing(rows),
        cost_drawing(rows, most // 2),
        importance_drawing(rows),
        parallel_drawing(rows, lines),
    ]

"""The figures. In each module ``*_info(rows)`` prepares the data and ``*_figure(info)`` draws them: both are pure."""

from dashboards.figures.costs import cost_drawing, time_drawing
from dashboards.figures.curves import curves_drawing
from dashboards.figures.depth import depth_drawing
from dashboards.figures.drawing import Drawing
from dashboards.figures.front import front_drawing
from dashboards.figures.importance import importance_drawing
from dashboards.figures.parallel import N_SCALES, parallel_drawing
from dashboards.figures.scenarios import map_drawing
from dashboards.figures.size import size_drawing
from harness.analysis.rows import Rows


def draw(rows: Rows, most: int) -> list[Drawing]:
    """Draw all figures of a study, in the order of the page, with at most ``most`` points in each.

    A learning curve counts as one point for each epoch, a line of the parallel coordinates as one for each scale.
    """
    curves = max(most // rows.spec["budget"]["epochs"], 1)
    several_sizes = rows.trials["image_size"].nunique() > 1
    return [
        front_drawing(rows, most),
        *([size_drawing(rows, most)] if several_sizes else []),
        map_drawing(rows, most),
        depth_drawing(rows, most // 2),
        curves_drawing(rows, curves),
        time_drawing(rows),
        cost_drawing(rows, most // 2),
        importance_drawing(rows),
        parallel_drawing(rows, most // N_SCALES),
    ]

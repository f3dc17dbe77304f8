//! Line charts as SVG: learning curves without a plotting library.

mod axis;
mod svg;
mod thin;

use std::fmt::Write as _;

use axis::Axis;
pub(super) use svg::escape;
use svg::{draw_text, fill, shorten, stroke, style_sheet, text_width};
pub(super) use thin::thin;

/// The size of the area in which a panel's lines are drawn, in pixels.
const PLOT: (f64, f64) = (340.0, 210.0);
const MARGIN: f64 = 20.0;
const TITLE_HEIGHT: f64 = 30.0;
const ROW_HEIGHT: f64 = 19.0;
/// Below the plot: its tick labels and the label of its x axis.
const FOOT_HEIGHT: f64 = 50.0;

/// Beyond this size, differences of values are no longer sure to be finite.
const LARGEST: f64 = 1e300;

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend calls it. A series without a name is not in the legend.
    pub name: String,
    /// The points `(x, y)`, joined in this order. One that is not finite breaks the line.
    pub points: Vec<(f64, f64)>,
    /// Whether it is drawn pale, as what lies behind the others.
    pub faint: bool,
}

impl Series {
    /// A line through `points`.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect(), faint: false }
    }

    /// The same line, pale: the single steps behind their means. It has the colour of the others of
    /// its name.
    pub fn faint(mut self) -> Self {
        self.faint = true;
        self
    }

    /// The stretches of points between those that cannot be drawn.
    pub(super) fn runs(&self) -> impl Iterator<Item = &[(f64, f64)]> {
        let drawable = |v: f64| v.abs() <= LARGEST;
        self.points.split(move |&(x, y)| !drawable(x) || !drawable(y)).filter(|run| !run.is_empty())
    }
}

/// A chart with one or more panels (e.g. loss and accuracy), each with its own axes, up to three of
/// them side by side.
///
/// Series of the same name have the same colour in all panels. Of a long series, as many points are
/// drawn as can be seen. The SVG needs nothing else: it sets
/// its own background and follows the reader's preference for light or dark.
///
/// ```
/// use kiln::train::{Chart, Series};
///
/// let loss = Series::new("train", [(1.0, 2.31), (2.0, 0.52), (3.0, 0.21)]);
/// let svg = Chart::new("Digits").panel("Loss", "epoch", "cross-entropy", vec![loss]).to_svg();
/// assert!(svg.starts_with("<svg "));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Clone, PartialEq)]
struct Panel {
    title: String,
    x_label: String,
    y_label: String,
    series: Vec<Series>,
}

impl Chart {
    /// A chart without panels. An empty title takes no room.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), panels: Vec::new() }
    }

    /// Adds a panel after the others. Empty labels take no room.
    pub fn panel(
        mut self,
        title: impl Into<String>,
        x_label: impl Into<String>,
        y_label: impl Into<String>,
        series: Vec<Series>,
    ) -> Self {
        let (title, x_label, y_label) = (title.into(), x_label.into(), y_label.into());
        self.panels.push(Panel { title, x_label, y_label, series });
        self
    }

    /// Writes the chart as an SVG file.
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> kiln_tensor::Result<()> {
        let svg = self.to_svg();
        kiln_tensor::atomic_write(path.as_ref(), |file| file.write_all(svg.as_bytes()))
    }

    /// The chart as an SVG document.
    pub fn to_svg(&self) -> String {
        let names = self.names();
        let columns = match self.panels.len() {
            4 => 2,
            count => count.clamp(1, 3),
        };
        let axes: Vec<_> = self.panels.iter().map(Panel::axes).collect();
        // What stands to the left of the plots of a column is as wide as the widest of it.
        let left_of = |i: usize| {
            let title = if self.panels[i].y_label.is_empty() { 8.0 } else { 28.0 };
            title + label_width(&axes[i].1)
        };
        let mut lefts = vec![0.0; columns];
        let mut right = MARGIN;
        for (column, left) in lefts.iter_mut().enumerate() {
            let of_column = (column..self.panels.len()).step_by(columns);
            *left = right + of_column.map(left_of).fold(0.0, f64::max);
            right = *left + PLOT.0 + MARGIN + 4.0;
        }

        let mut head = MARGIN + if self.title.is_empty() { 0.0 } else { TITLE_HEIGHT };
        let title = shorten(&self.title, right - 2.0 * MARGIN, 16.0);
        let mut body = String::new();
        draw_text(&mut body, "h", (MARGIN, head - 14.0), &title);
        let mut axes = axes.into_iter();
        for row in self.panels.chunks(columns) {
            let legends: Vec<_> = row.iter().map(Panel::legend).collect();
            let legend_rows = legends.iter().flatten().map(|item| item.row + 1).max().unwrap_or(0);
            let top = head + ROW_HEIGHT * (1 + legend_rows) as f64 + 6.0;
            for ((panel, legend), (&left, (x, y))) in
                row.iter().zip(&legends).zip(lefts.iter().zip(&mut axes))
            {
                let frame = Frame { left, top, x, y };
                frame.draw(&mut body, panel);
                draw_text(
                    &mut body,
                    "b",
                    (left, head + 12.0),
                    &shorten(&panel.title, PLOT.0, 13.0),
                );
                for item in legend {
                    let at = (left + item.x, head + ROW_HEIGHT * (item.row + 1) as f64 + 12.0);
                    item.draw(&mut body, at, colour_of(&names, &item.name));
                }
                for series in &panel.series {
                    frame.draw_line(&mut body, series, colour_of(&names, &series.name));
                }
            }
            head = top + PLOT.1 + FOOT_HEIGHT;
        }
        let (width, height) = (right.ceil(), head);
        let name = match self.title.is_empty() {
            true => self.panels.first().map_or("", |panel| &panel.title),
            false => &self.title,
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"kiln-chart\" role=\"img\" \
             width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
             <title>{}</title>\n{}<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
             {body}</svg>\n",
            escape(name),
            style_sheet(),
        )
    }

    /// The names of all series, each once: the place of a name decides its colour.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        names
    }
}

fn colour_of(names: &[&str], name: &str) -> usize {
    names.iter().position(|&other| other == name).unwrap_or(0)
}

/// One entry of a legend: where it stands, from the left of the plot and in rows.
struct LegendItem {
    name: String,
    x: f64,
    row: usize,
}

impl LegendItem {
    fn draw(&self, out: &mut String, (x, y): (f64, f64), colour: usize) {
        // Here and below: writing into a string cannot fail.
        let _ = writeln!(out, "<path {} d=\"M{x:.1} {:.1}h18\"/>", stroke(colour), y - 4.0);
        draw_text(out, "t", (x + 24.0, y), &shorten(&self.name, PLOT.0 - 24.0, 12.0));
    }
}

impl Panel {
    /// The legend, in rows that are as wide as the plot.
    fn legend(&self) -> Vec<LegendItem> {
        let (mut x, mut row) = (0.0, 0);
        let mut items: Vec<LegendItem> = Vec::new();
        for Series { name, .. } in &self.series {
            if name.is_empty() || items.iter().any(|item| item.name == *name) {
                continue;
            }
            let width = 24.0 + text_width(name, 12.0);
            if x > 0.0 && x + width > PLOT.0 {
                (x, row) = (0.0, row + 1);
            }
            items.push(LegendItem { name: name.clone(), x, row });
            x += width + 18.0;
        }
        items
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(Series::runs).flatten();
        let x = Axis::new(points().map(|point| point.0), 7);
        let y = Axis::new(points().map(|point| point.1), 6);
        (x, y.rounded_out())
    }
}

/// A panel's plot: its place in the picture and its axes.
struct Frame {
    left: f64,
    top: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (right, up) = (self.x.place(x) * PLOT.0, (1.0 - self.y.place(y)) * PLOT.1);
        (self.left + right, self.top + up)
    }

    fn draw(&self, out: &mut String, panel: &Panel) {
        let (left, bottom) = (self.left, self.top + PLOT.1);
        let mut grid = String::new();
        for tick in self.y.ticks() {
            let y = self.at((self.x.low, tick)).1;
            let _ = write!(grid, "M{left:.1} {y:.1}h{}", PLOT.0);
            draw_text(out, "t e", (left - 8.0, y + 4.0), &self.y.label(tick));
        }
        for tick in self.x.ticks() {
            let x = self.at((tick, self.y.low)).0;
            let _ = write!(grid, "M{x:.1} {:.1}v{}", self.top, PLOT.1);
            draw_text(out, "t m", (x, bottom + 17.0), &self.x.label(tick));
        }
        let _ = writeln!(out, "<path class=\"grid\" d=\"{grid}\"/>");
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}h{}\"/>", PLOT.0);

        let middle = (left + PLOT.0 / 2.0, self.top + PLOT.1 / 2.0);
        if panel.series.iter().flat_map(Series::runs).next().is_none() {
            draw_text(out, "t m", middle, "no data");
        }
        let x_label = shorten(&panel.x_label, PLOT.0, 12.0);
        draw_text(out, "t m", (middle.0, bottom + 36.0), &x_label);
        if !panel.y_label.is_empty() {
            // Rotated about the origin, so that the group's transform is all that moves the label.
            let x = left - label_width(&self.y) - 18.0;
            let _ = write!(out, "<g transform=\"translate({x:.1} {:.1}) rotate(-90)\">", middle.1);
            draw_text(out, "t m", (0.0, 0.0), &shorten(&panel.y_label, PLOT.1, 12.0));
            out.push_str("</g>\n");
        }
    }

    fn draw_line(&self, out: &mut String, series: &Series, colour: usize) {
        let mut line = String::new();
        for run in series.runs() {
            // Half of a pixel, for screens that have more of them.
            let run = thin(run, |x| (2.0 * self.x.place(x) * PLOT.0) as i64);
            if let &[point] = &run[..] {
                // A line needs two points; one alone shows as a dot.
                let (x, y) = self.at(point);
                let dot = fill(colour);
                let _ = writeln!(out, "<circle {dot} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
            }
            for (i, &point) in run.iter().enumerate().filter(|_| run.len() > 1) {
                let (x, y) = self.at(point);
                let _ = write!(line, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
            }
        }
        if !line.is_empty() {
            let pale = if series.faint { " opacity=\"0.4\"" } else { "" };
            let _ = writeln!(out, "<path {}{pale} d=\"{line}\"/>", stroke(colour));
        }
    }
}

/// The room that the labels of a vertical axis take.
fn label_width(axis: &Axis) -> f64 {
    axis.ticks().map(|tick| text_width(&axis.label(tick), 12.0)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;

//! Line charts as SVG: learning curves without a plotting library.

mod axis;
mod svg;

use std::fmt::Write as _;

use axis::Axis;
use svg::{draw_text, escape, fill, shorten, stroke, style_sheet, text_width};

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
}

impl Series {
    /// A line through `points`.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect() }
    }

    /// The stretches of points between those that cannot be drawn.
    fn runs(&self) -> impl Iterator<Item = &[(f64, f64)]> {
        let drawable = |v: f64| v.abs() <= LARGEST;
        self.points.split(move |&(x, y)| !drawable(x) || !drawable(y)).filter(|run| !run.is_empty())
    }
}

/// A chart with one or more panels side by side (e.g. loss and accuracy), each with its own axes.
///
/// Series of the same name have the same colour in all panels. The SVG needs nothing else: it sets
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

    /// Adds a panel to the right of the others.
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
        let legends: Vec<_> = self.panels.iter().map(Panel::legend).collect();
        let legend_rows = legends.iter().flatten().map(|item| item.row + 1).max().unwrap_or(0);
        let head = MARGIN + if self.title.is_empty() { 0.0 } else { TITLE_HEIGHT };
        let top = head + ROW_HEIGHT * (1 + legend_rows) as f64 + 6.0;

        let mut body = String::new();
        let mut left = MARGIN;
        for (panel, legend) in self.panels.iter().zip(&legends) {
            let (x, y) = panel.axes();
            left += 28.0 + label_width(&y);
            let frame = Frame { left, top, x, y };
            frame.draw(&mut body, panel);
            draw_text(&mut body, "b", (left, head + 12.0), &shorten(&panel.title, PLOT.0, 13.0));
            for item in legend {
                let at = (left + item.x, head + ROW_HEIGHT * (item.row + 1) as f64 + 12.0);
                item.draw(&mut body, at, colour_of(&names, &item.name));
            }
            for series in &panel.series {
                frame.draw_line(&mut body, series, colour_of(&names, &series.name));
            }
            left += PLOT.0 + MARGIN + 4.0;
        }
        let width = left.max(2.0 * MARGIN + PLOT.0).ceil();
        let height = if self.panels.is_empty() { top } else { top + PLOT.1 + FOOT_HEIGHT };
        let title = shorten(&self.title, width - 2.0 * MARGIN, 16.0);
        draw_text(&mut body, "h", (MARGIN, head - 14.0), &title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"kiln-chart\" role=\"img\" \
             width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
             <title>{}</title>\n{}<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
             {body}</svg>\n",
            escape(&self.title),
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
        // Rotated about the origin, so that the group's transform is all that moves the label.
        let x = left - label_width(&self.y) - 18.0;
        let _ = write!(out, "<g transform=\"translate({x:.1} {:.1}) rotate(-90)\">", middle.1);
        draw_text(out, "t m", (0.0, 0.0), &shorten(&panel.y_label, PLOT.1, 12.0));
        out.push_str("</g>\n");
    }

    fn draw_line(&self, out: &mut String, series: &Series, colour: usize) {
        let mut line = String::new();
        for run in series.runs() {
            if let &[point] = run {
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
            let _ = writeln!(out, "<path {} d=\"{line}\"/>", stroke(colour));
        }
    }
}

/// The room that the labels of a vertical axis take.
fn label_width(axis: &Axis) -> f64 {
    axis.ticks().map(|tick| text_width(&axis.label(tick), 12.0)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg_of(points: &[(f64, f64)]) -> String {
        let series = Series::new("train", points.iter().copied());
        Chart::new("Run").panel("Loss", "epoch", "loss", vec![series]).to_svg()
    }

    /// The data of the lines drawn, without the legend's.
    fn lines(svg: &str) -> Vec<&str> {
        let lines = svg.lines().filter(|line| line.starts_with("<path class=\"line"));
        lines.filter(|line| !line.contains("h18\"/>")).collect()
    }

    #[test]
    fn draws_one_line_through_the_points() {
        let svg = svg_of(&[(0.0, 0.0), (1.0, 1.0), (2.0, 0.5)]);
        assert_eq!(lines(&svg).len(), 1);
        assert_eq!(svg.matches("class=\"axis\"").count(), 1);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for text in ["<title>Run</title>", ">epoch</text>", ">train</text>", ">0.6</text>"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
    }

    #[test]
    fn breaks_the_line_where_a_point_is_missing() {
        let svg = svg_of(&[(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 1.0)]);
        assert_eq!(lines(&svg)[0].matches('M').count(), 2);
        let svg = svg_of(&[(0.0, 1.0), (1.0, f64::INFINITY), (2.0, 2.0), (3.0, f64::MAX)]);
        assert_eq!(lines(&svg).len(), 0);
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn draws_what_has_no_range_or_no_points() {
        let inputs: [&[(f64, f64)]; 6] = [
            &[],
            &[(f64::NAN, 1.0)],
            &[(0.0, 0.0)],
            &[(1.0, 5.0), (2.0, 5.0)],
            &[(1e300, -1e300), (-1e300, 1e300)],
            &[(1e-320, 1e-310), (2e-320, 5e-324)],
        ];
        for points in inputs {
            let svg = svg_of(points);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}: {svg}");
        }
        assert!(svg_of(&[]).contains("no data"));
        assert!(Chart::new("").to_svg().ends_with("</svg>\n"));
    }

    #[test]
    fn escapes_text() {
        let chart = Chart::new("a < b & \"c\"\u{1}").panel("<p>", "x", "y", Vec::new());
        let svg = chart.to_svg();
        assert!(svg.contains("<title>a &lt; b &amp; &quot;c&quot; </title>"));
        assert!(svg.contains(">&lt;p&gt;</text>"));
    }

    #[test]
    fn a_name_has_one_colour_and_one_legend_entry_per_panel() {
        let line = |name| Series::new(name, [(0.0, 0.0), (1.0, 1.0)]);
        let chart = Chart::new("Run")
            .panel("Loss", "epoch", "loss", vec![line("train"), line("valid"), line("valid")])
            .panel("Accuracy", "epoch", "accuracy", vec![line("valid")]);
        let svg = chart.to_svg();
        assert_eq!(svg.matches(">valid</text>").count(), 2);
        assert_eq!(lines(&svg).iter().filter(|line| line.contains("line1")).count(), 3);
    }
}

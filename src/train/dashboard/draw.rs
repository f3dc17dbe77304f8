//! The picture: progress, numbers, curves, the last lines.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};

use super::View;
use crate::train::Series;
use crate::train::history::Quantity;
use crate::train::numbers::{bytes, clock, grouped, metric};

/// The least size of a curve, with its frame and axes.
const CURVE: (u16, u16) = (38, 9);
const LINES: u16 = 6;

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(CURVE.1),
        Constraint::Length(LINES + 2),
    ];
    let [bar, numbers, curves, lines] = Layout::vertical(rows).areas(frame.area());
    draw_bar(frame, bar, view);
    draw_numbers(frame, numbers, view);
    draw_curves(frame, curves, view);
    draw_lines(frame, lines, view);
}

fn draw_bar(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let epoch = (view.epoch + 1).min(view.epochs);
    let mut text = format!("epoch {epoch}/{}  batch {}", view.epochs, view.batch);
    if let Some(batches) = view.batches {
        text += &format!("/{batches}");
    }
    text += &format!("  step {}  {}", grouped(view.step), clock(view.elapsed));
    if let Some(left) = view.time_left() {
        text += &format!("  ETA {}", clock(left));
    }
    let gauge = Gauge::default().ratio(view.share().unwrap_or(0.0)).label(text);
    frame.render_widget(gauge.gauge_style(Style::new().fg(Color::Blue).bg(Color::DarkGray)), area);
}

fn draw_numbers(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let mut numbers: Vec<(&str, String)> =
        view.values.iter().map(|(name, x)| (name.as_str(), metric(name, *x, 1))).collect();
    numbers.push(("lr", format!("{:.1e}", view.lr)));
    numbers.push(("examples/s", grouped(view.pace as usize)));
    // A device that does not count has none.
    if view.memory > 0 {
        numbers.push(("memory", bytes(view.memory)));
    }
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let spans = numbers.into_iter().flat_map(|(name, value)| {
        [Span::raw(format!(" {name} ")), Span::styled(value, bold), Span::raw(" ")]
    });
    frame.render_widget(Line::from_iter(spans), area);
}

/// As many curves as there is room for, the loss first.
fn draw_curves(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let quantities = view.history.quantities();
    let most = |room: u16, least: u16| usize::from(room / least).max(1);
    let columns = most(area.width, CURVE.0).min(quantities.len()).min(3);
    let rows = most(area.height, CURVE.1).min(quantities.len().div_ceil(columns));
    let equal = |count: usize| vec![Constraint::Fill(1); count];
    let shown = &quantities[..quantities.len().min(rows * columns)];
    let areas = Layout::vertical(equal(rows)).split(area);
    for (row, &area) in shown.chunks(columns).zip(areas.iter()) {
        let areas = Layout::horizontal(equal(columns)).split(area);
        for (quantity, &area) in row.iter().zip(areas.iter()) {
            draw_curve(frame, area, quantity);
        }
    }
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, quantity: &Quantity) {
    let block = Block::bordered().title(format!(" {} ", quantity.name));
    let points = || quantity.series.iter().flat_map(Series::runs).flatten();
    let Some(&first) = points().next() else {
        frame.render_widget(block, area);
        return;
    };
    let (mut x, mut y) = ([first.0; 2], [first.1; 2]);
    for point in points() {
        x = [x[0].min(point.0), x[1].max(point.0)];
        y = [y[0].min(point.1), y[1].max(point.1)];
    }
    let steps = x.map(|step| grouped(step as usize));
    let values = y.map(|value| metric(&quantity.name, value, 1));
    if x[0] == x[1] {
        x[1] += 1.0;
    }
    if y[0] == y[1] {
        let room = 0.1 * y[0].abs().max(1e-9);
        y = [y[0] - room, y[1] + room];
    }
    let mut lines = Vec::new();
    for series in &quantity.series {
        let colour = match (series.faint, &*series.name) {
            (true, _) => Color::DarkGray,
            (_, "train") => Color::Cyan,
            (_, "valid") => Color::Yellow,
            _ => Color::Green,
        };
        for (i, run) in series.runs().enumerate() {
            let mut line = Dataset::default().marker(Marker::Braille).data(run);
            line = line.graph_type(GraphType::Line).style(Style::new().fg(colour));
            // One entry of the legend, also where the line is broken.
            if i == 0 && !series.faint && !series.name.is_empty() {
                line = line.name(series.name.as_str());
            }
            lines.push(line);
        }
    }
    let grey = Style::new().fg(Color::DarkGray);
    let chart = Chart::new(lines)
        .block(block)
        .hidden_legend_constraints((Constraint::Ratio(1, 2), Constraint::Ratio(1, 1)))
        .x_axis(Axis::default().style(grey).bounds(x).labels(steps))
        .y_axis(Axis::default().style(grey).bounds(y).labels(values));
    frame.render_widget(chart, area);
}

fn draw_lines(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let room = usize::from(area.height.saturating_sub(2));
    let last = &view.lines[view.lines.len().saturating_sub(room)..];
    let lines: Vec<Line<'_>> = last.iter().map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" log ")), area);
}

//! The parts of a chart's SVG that do not depend on its data: text, colours and styles.

use std::fmt::Write as _;

/// How many colours the lines have.
const COLOURS: usize = 7;

struct Theme {
    page: &'static str,
    text: &'static str,
    grid: &'static str,
    axis: &'static str,
    /// Colours that stay apart for colour-blind readers.
    lines: [&'static str; COLOURS],
}

const LIGHT: Theme = Theme {
    page: "#ffffff",
    text: "#333a41",
    grid: "#e4e7ea",
    axis: "#7d868f",
    lines: ["#0969b8", "#d1500a", "#0a8a68", "#b23a86", "#92700c", "#6b55c8", "#5c6670"],
};

const DARK: Theme = Theme {
    page: "#14181d",
    text: "#d3d9df",
    grid: "#2b323a",
    axis: "#8b949e",
    lines: ["#58b1f5", "#ff9248", "#37c9a0", "#e88fc4", "#e3bf4b", "#a99af5", "#a5b0bb"],
};

/// What both themes share.
///
/// All rules are plain, since several SVG renderers do not know CSS variables, and each is below
/// the chart's own class, since a style sheet inside an HTML page applies to all of that page.
const SHARED_RULES: &str = "\
.kiln-chart text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif }
.kiln-chart .h { font-size: 16px; font-weight: 600 }
.kiln-chart .b { font-size: 13px; font-weight: 600 }
.kiln-chart .m { text-anchor: middle }
.kiln-chart .e { text-anchor: end }
.kiln-chart path { fill: none; stroke-width: 1 }
.kiln-chart .line { stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
";

/// The lines that reuse a colour are told apart by their dashes.
const DASHES: [&str; 3] = ["", " stroke-dasharray=\"6 4\"", " stroke-dasharray=\"1.5 4\""];

/// The attributes of a line in the `colour`-th colour.
pub(super) fn stroke(colour: usize) -> String {
    let (class, dashes) = (colour % COLOURS, DASHES[colour / COLOURS % DASHES.len()]);
    format!("class=\"line line{class}\"{dashes}")
}

/// The attributes of a dot in the `colour`-th colour.
pub(super) fn fill(colour: usize) -> String {
    format!("class=\"dot{}\"", colour % COLOURS)
}

/// The styles of all charts: light, and dark for a reader who prefers that.
pub(super) fn style_sheet() -> String {
    let (light, dark) = (LIGHT.rules(), DARK.rules());
    let dark = format!("@media (prefers-color-scheme: dark) {{\n{dark}}}\n");
    format!("<style>\n{SHARED_RULES}{light}{dark}</style>\n")
}

impl Theme {
    fn rules(&self) -> String {
        let Self { page, text, grid, axis, lines } = self;
        let mut css = String::new();
        let mut rule = |class: &str, property: &str, colour: &str| {
            // Here and below: writing into a string cannot fail.
            let _ = writeln!(css, ".kiln-chart {class} {{ {property}: {colour} }}");
        };
        rule(".page", "fill", page);
        rule("text", "fill", text);
        rule(".grid", "stroke", grid);
        rule(".axis", "stroke", axis);
        for (i, colour) in lines.iter().enumerate() {
            rule(&format!(".line{i}"), "stroke", colour);
            rule(&format!(".dot{i}"), "fill", colour);
        }
        css
    }
}

/// Draws text; `class` is `h` or `b` for a heading, `t` for the rest, with `m` or `e` to put its
/// middle or its end at the point.
pub(super) fn draw_text(out: &mut String, class: &str, (x, y): (f64, f64), text: &str) {
    if !text.is_empty() {
        let text = escape(text);
        let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
    }
}

/// About how wide `text` is at a font size of `px`. The reader's font is not known here.
pub(super) fn text_width(text: &str, px: f64) -> f64 {
    // From the CJK blocks on, letters are as wide as high.
    text.chars().map(|c| if c < '\u{2e80}' { 0.56 * px } else { px }).sum()
}

/// `text`, cut if needed to about `width` pixels.
pub(super) fn shorten(text: &str, width: f64, px: f64) -> String {
    if text_width(text, px) <= width {
        return text.into();
    }
    let mut room = width - text_width("\u{2026}", px);
    let fits = |&c: &char| {
        room -= text_width(c.encode_utf8(&mut [0; 4]), px);
        room >= 0.0
    };
    text.chars().take_while(fits).chain(['\u{2026}']).collect()
}

/// `text` as XML character data, without the characters that XML does not allow.
pub(in crate::train) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut() {
        assert_eq!(shorten("loss", 100.0, 12.0), "loss");
        let cut = shorten(&"loss ".repeat(50), 100.0, 12.0);
        assert!(cut.ends_with('\u{2026}') && text_width(&cut, 12.0) <= 100.0);
    }
}

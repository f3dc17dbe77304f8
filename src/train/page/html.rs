//! The page as a whole, and the pieces that its sections are made of.

use std::fmt::Display;

use super::{Run, Status};
use crate::train::numbers::metric;
use crate::train::plot::escape;

/// Everything is in the page itself: no script, no font, no picture from elsewhere. The browser
/// is told to refuse them too.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Seconds after which a browser loads the page of a running training again.
const REFRESH: usize = 10;

impl Run {
    pub fn html(&self) -> String {
        let refresh = match self.status {
            Status::Running => format!("<meta http-equiv=\"refresh\" content=\"{REFRESH}\">\n"),
            _ => String::new(),
        };
        let mut body = String::new();
        self.write_head(&mut body);
        self.write_curves(&mut body);
        self.write_confusion(&mut body);
        self.write_epochs(&mut body);
        self.write_model(&mut body);
        self.write_settings(&mut body);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n{refresh}\
             <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\
             <footer>Made by Kiln {version}. The numbers of each step are in \
             <code>metrics.jsonl</code>.</footer>\n</main>\n</body>\n</html>\n",
            title = escape(&self.title),
            style = include_str!("style.css"),
            version = env!("CARGO_PKG_VERSION"),
        )
    }

    /// The value of the monitored number.
    pub fn monitored(&self, value: f64) -> String {
        metric(&self.monitor, value, 2)
    }
}

/// A table with these columns, of which those in the range are numbers.
pub(super) struct Table<'a> {
    pub out: &'a mut String,
    pub numbers: std::ops::Range<usize>,
}

impl Table<'_> {
    pub fn head(&mut self, cells: &[String]) {
        self.out.push_str("<table>\n<thead>");
        self.write("<tr>", "th", cells);
        self.out.push_str("</thead>\n<tbody>\n");
    }

    /// A row of texts. It has a class if that is not empty.
    pub fn row(&mut self, class: &str, cells: &[String]) {
        let start = match class {
            "" => "<tr>".to_string(),
            class => format!("<tr class=\"{class}\">"),
        };
        self.write(&start, "td", cells);
    }

    pub fn end(&mut self) {
        self.out.push_str("</tbody>\n</table>\n");
    }

    fn write(&mut self, start: &str, tag: &str, cells: &[String]) {
        self.out.push_str(start);
        for (i, cell) in cells.iter().enumerate() {
            let class = if self.numbers.contains(&i) { " class=\"number\"" } else { "" };
            self.out.push_str(&format!("<{tag}{class}>{}</{tag}>", escape(cell)));
        }
        self.out.push_str("</tr>\n");
    }
}

pub(super) fn heading(out: &mut String, text: &str) {
    out.push_str(&format!("<h2>{text}</h2>\n"));
}

/// A large number and what it is.
pub(super) fn tile(out: &mut String, value: impl Display, what: impl Display) {
    let (value, what) = (escape(&value.to_string()), escape(&what.to_string()));
    out.push_str(&format!("<div class=\"card tile\"><b>{value}</b><span>{what}</span></div>\n"));
}

/// A card of names and values.
pub(super) fn pairs(out: &mut String, title: &str, pairs: &[(String, String)]) {
    out.push_str(&format!("<div class=\"card\"><h3>{title}</h3><table><tbody>\n"));
    for (name, value) in pairs {
        let (name, value) = (escape(name), escape(value));
        out.push_str(&format!("<tr><th>{name}</th><td><code>{value}</code></td></tr>\n"));
    }
    out.push_str("</tbody></table></div>\n");
}

//! Tensors as text, laid out as PyTorch does (`torch/_tensor_str.py`).

use std::fmt::{Formatter, Result};

use num_complex::Complex;

use crate::{DType, TensorData};

/// Above this many elements only the borders are shown.
const SUMMARY: usize = 1000;
/// Entries shown at each end of a long axis.
const EDGE: usize = 3;
/// Longest line.
const WIDTH: usize = 80;

pub(crate) fn write(data: &TensorData, f: &mut Formatter<'_>) -> Result {
    let shape = data.shape();
    let summary = shape.num_elements() > SUMMARY;
    let mut shown = Vec::new();
    visit(&shape, summary, 0, &mut |element| shown.push(element));
    let (texts, width) = match data.dtype() {
        DType::Bool => aligned(data.iter::<bool>().collect(), &shown),
        dtype if dtype.is_float() => {
            let all: Vec<f64> = data.iter().collect();
            floats(&shown.iter().map(|&i| all[i]).collect::<Vec<_>>())
        }
        dtype if dtype.is_complex() => {
            let all: Vec<Complex<f64>> = data.iter().collect();
            complexes(&shown.iter().map(|&i| all[i]).collect::<Vec<_>>())
        }
        DType::U64 => aligned(data.iter::<u64>().collect(), &shown),
        _ => aligned(data.iter::<i64>().collect(), &shown),
    };
    if texts.is_empty() {
        f.write_str("[]")?;
    } else {
        let mut printer = Printer { texts: texts.into_iter(), shape: &shape, summary, width };
        printer.axis(f, 0)?;
    }
    write!(f, "\nTensor[{shape:?}, {}]", data.dtype())
}

/// The entries of an axis that are shown.
fn entries(extent: usize, summary: bool) -> impl Iterator<Item = usize> {
    let left_out = if summary && extent > 2 * EDGE { EDGE..extent - EDGE } else { 0..0 };
    (0..extent).filter(move |i| !left_out.contains(i))
}

/// Calls `show` with the index of each element that is shown, in row-major order.
fn visit(shape: &[usize], summary: bool, start: usize, show: &mut impl FnMut(usize)) {
    let Some((&extent, rest)) = shape.split_first() else { return show(start) };
    let stride: usize = rest.iter().product();
    entries(extent, summary).for_each(|i| visit(rest, summary, start + i * stride, show));
}

/// The shown ones of `all` values, padded to the width of the longest.
fn aligned<T: ToString>(all: Vec<T>, shown: &[usize]) -> (Vec<String>, usize) {
    let texts: Vec<String> = shown.iter().map(|&i| all[i].to_string()).collect();
    let width = texts.iter().map(String::len).max().unwrap_or(0);
    padded(texts, width)
}

fn padded(texts: Vec<String>, width: usize) -> (Vec<String>, usize) {
    (texts.into_iter().map(|text| format!("{text:>width$}")).collect(), width)
}

/// Both parts in a notation of their own; only real parts line up.
fn complexes(values: &[Complex<f64>]) -> (Vec<String>, usize) {
    let part =
        |part: fn(&Complex<f64>) -> f64| floats(&values.iter().map(part).collect::<Vec<_>>());
    let ((re, re_width), (im, im_width)) = (part(|z| z.re), part(|z| z.im));
    let both = |(re, im): (String, String)| {
        let im = im.trim_start();
        let sign = if im.starts_with('-') { "" } else { "+" };
        format!("{re}{sign}{im}j")
    };
    (re.into_iter().zip(im).map(both).collect(), re_width + im_width + 1)
}

/// Floats in the one notation that suits them all: as whole numbers, with four decimals, or with
/// an exponent where their sizes are too different or extreme. Only finite numbers other than zero
/// have a say in the notation and in the width.
fn floats(values: &[f64]) -> (Vec<String>, usize) {
    let sizes = || values.iter().map(|x| x.abs()).filter(|&x| x.is_finite() && x > 0.0);
    let (least, largest) = sizes().fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
    let whole = sizes().all(|x| x == x.trunc());
    let spread = largest > 1e8 || largest > 1000.0 * least || (!whole && least < 1e-4);
    let text = |&x: &f64| match x {
        x if !x.is_finite() => x.to_string().to_lowercase(),
        x if spread => scientific(x),
        x if whole => format!("{x:.0}."),
        x => format!("{x:.4}"),
    };
    let texts: Vec<String> = values.iter().map(text).collect();
    let counts = |x: &f64| x.is_finite() && *x != 0.0;
    let widths = values.iter().zip(&texts).filter(|(x, _)| counts(x)).map(|(_, text)| text.len());
    // No number takes less than one place, as far as breaking lines is concerned.
    let width = widths.max().unwrap_or(1);
    padded(texts, width)
}

/// Four decimals and an exponent of at least two digits.
fn scientific(x: f64) -> String {
    let text = format!("{x:.4e}");
    let (digits, exponent) = text.split_once('e').expect("a number with an exponent");
    let exponent: i32 = exponent.parse().expect("a whole exponent");
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

struct Printer<'a> {
    /// The elements that are shown, in row-major order.
    texts: std::vec::IntoIter<String>,
    shape: &'a [usize],
    summary: bool,
    /// How long a text is, at most: so many fit a line.
    width: usize,
}

impl Printer<'_> {
    /// Writes the next part of the tensor below `axis`.
    fn axis(&mut self, f: &mut Formatter<'_>, axis: usize) -> Result {
        let Some(&extent) = self.shape.get(axis) else {
            let text = self.texts.next().unwrap_or_default();
            return f.write_str(&text);
        };
        let below = self.shape.len() - axis - 1;
        // Vectors fill the line, matrices have a row in each, and blank lines part higher axes.
        let indent = axis + 1;
        let per_line =
            if below == 0 { ((WIDTH - axis) / (self.width + 2)).max(1) } else { usize::MAX };
        let (mut written, mut expected) = (0, 0);
        f.write_str("[")?;
        for i in entries(extent, self.summary) {
            let gap = i > expected;
            for item in [gap.then_some(false), Some(true)].into_iter().flatten() {
                if written > 0 && below > 0 {
                    write!(f, ",{}{:indent$}", "\n".repeat(below), "")?;
                } else if written > 0 && written % per_line == 0 {
                    write!(f, ",\n{:indent$}", "")?;
                } else if written > 0 {
                    f.write_str(", ")?;
                }
                match item {
                    true => self.axis(f, axis + 1)?,
                    false if below == 0 => f.write_str(" ...")?,
                    false => f.write_str("...")?,
                }
                written += 1;
            }
            expected = i + 1;
        }
        f.write_str("]")
    }
}

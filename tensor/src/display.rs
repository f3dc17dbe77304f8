//! Tensors as text, laid out as PyTorch does.

use std::fmt::{Formatter, Result};

use crate::{DType, TensorData};

/// Above this many elements only the borders are shown.
const SUMMARY: usize = 1000;
/// Entries shown at each end of a long axis.
const EDGE: usize = 3;
/// Longest line.
const WIDTH: usize = 80;

pub(crate) fn write(data: &TensorData, f: &mut Formatter<'_>) -> Result {
    let values: Vec<f64> = data.iter().collect();
    let format = Format::choose(data.dtype(), &values);
    let printer = Printer { values: &values, shape: &data.shape(), format };
    printer.axis(f, 0, 0)?;
    write!(f, "\nTensor[{:?}, {}]", data.shape(), data.dtype())
}

/// How every number of one tensor is written, so that columns line up.
enum Format {
    Whole { width: usize },
    Fixed { width: usize },
    Scientific { width: usize },
    Bool,
}

impl Format {
    fn choose(dtype: DType, values: &[f64]) -> Self {
        if dtype == DType::Bool {
            return Format::Bool;
        }
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        let largest = finite().map(f64::abs).fold(0.0, f64::max);
        let smallest = finite().map(f64::abs).filter(|&x| x > 0.0).fold(f64::INFINITY, f64::min);
        let width =
            |text: fn(f64) -> String| values.iter().map(|&x| text(x).len()).max().unwrap_or(0);
        if !dtype.is_float() || finite().all(|x| x == x.trunc() && x.abs() < 1e8) {
            return Format::Whole { width: width(|x| format!("{x}")) + dtype.is_float() as usize };
        }
        if largest >= 1e8 || largest < 1e-4 || largest / smallest > 1e8 {
            return Format::Scientific { width: width(|x| format!("{x:.4e}")) };
        }
        Format::Fixed { width: width(|x| format!("{x:.4}")) }
    }

    fn write(&self, f: &mut Formatter<'_>, x: f64, float: bool) -> Result {
        match self {
            Format::Whole { width } if float && x.is_finite() => {
                write!(f, "{:>width$}", format!("{x}."))
            }
            Format::Whole { width } => write!(f, "{x:>width$}"),
            Format::Fixed { width } => write!(f, "{x:>width$.4}"),
            Format::Scientific { width } => write!(f, "{:>width$}", format!("{x:.4e}")),
            Format::Bool => write!(f, "{:>5}", x != 0.0),
        }
    }

    fn width(&self) -> usize {
        match self {
            Format::Whole { width } | Format::Fixed { width } | Format::Scientific { width } => {
                *width
            }
            Format::Bool => 5,
        }
    }
}

struct Printer<'a> {
    values: &'a [f64],
    shape: &'a [usize],
    format: Format,
}

impl Printer<'_> {
    /// Writes the part of the tensor below `axis` that starts at element `start`.
    fn axis(&self, f: &mut Formatter<'_>, axis: usize, start: usize) -> Result {
        let float = matches!(self.format, Format::Whole { .. })
            && f.alternate() | self.values.iter().any(|x| !x.is_finite());
        let Some(&extent) = self.shape.get(axis) else {
            return self.format.write(f, self.values[start], float);
        };
        let stride: usize = self.shape[axis + 1..].iter().product();
        let last = axis + 1 == self.shape.len();
        let shortened = self.values.len() > SUMMARY && extent > 2 * EDGE;
        let per_line = ((WIDTH - axis) / (self.format.width() + 2)).max(1);
        f.write_str("[")?;
        let mut written = 0;
        for i in 0..extent {
            if shortened && i >= EDGE && i < extent - EDGE {
                if i == EDGE {
                    self.separate(f, axis, last, written, per_line)?;
                    f.write_str("...")?;
                    written += 1;
                }
                continue;
            }
            if written > 0 {
                self.separate(f, axis, last, written, per_line)?;
            }
            self.axis(f, axis + 1, start + i * stride)?;
            written += 1;
        }
        f.write_str("]")
    }

    /// A comma, and between rows (or where a row is too long) a new line.
    fn separate(
        &self,
        f: &mut Formatter<'_>,
        axis: usize,
        last: bool,
        n: usize,
        per_line: usize,
    ) -> Result {
        let indent = axis + 1;
        if !last {
            let blank = self.shape.len() - axis - 1;
            write!(f, ",{}{:indent$}", "\n".repeat(blank), "")
        } else if n % per_line == 0 {
            write!(f, ",\n{:indent$}", "")
        } else {
            f.write_str(", ")
        }
    }
}

//! A row of the table, for people and for programs.

use std::fmt::{self, Display};

use serde_json::json;

use crate::answer::{Answer, Measure};
use crate::timing::median;

/// What the device can do: the best that either side measured of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceilings {
    /// Bytes read and written by a copy, in a second.
    pub bytes: f64,
    /// Operations of a product of bf16, in a second.
    pub flops: f64,
}

impl Ceilings {
    /// Raises the ceilings to what a row shows.
    pub fn raise(&mut self, row: &Row) {
        for measure in [&row.kiln, &row.eager, &row.compiled].into_iter().flatten().flatten() {
            let per_second = |amount: f64| amount / measure.us * 1e6;
            self.bytes = self.bytes.max(per_second(row.least_bytes as f64));
            self.flops = self.flops.max(per_second(row.flops as f64));
        }
    }

    /// The share of the nearer ceiling that `us` microseconds for the work of a row are.
    fn share(&self, row: &Row, us: f64) -> Option<f64> {
        let least = |amount: f64, rate: f64| if rate > 0.0 { amount / rate * 1e6 } else { 0.0 };
        let moves = least(row.least_bytes as f64, self.bytes);
        let ideal = moves.max(least(row.flops as f64, self.flops));
        (ideal > 0.0).then_some(ideal / us)
    }
}

/// A workload with what each side measured; `None` for a side that was not asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    /// What the work moves at least, where that is what takes the time.
    pub least_bytes: usize,
    /// As Kiln counts them.
    pub flops: u64,
    /// The share of the nearer ceiling that Kiln reaches.
    pub share: Option<f64>,
    pub kiln: Option<Answer>,
    pub eager: Option<Answer>,
    pub compiled: Option<Answer>,
}

impl Row {
    /// From the turns of Kiln, PyTorch and compiled PyTorch.
    pub fn new(name: String, least_bytes: usize, turns: [Vec<Answer>; 3]) -> Self {
        let [kiln, eager, compiled] = turns.map(middle);
        let flops = match &kiln {
            Some(Ok(kiln)) => kiln.flops,
            _ => 0,
        };
        Self { name, least_bytes, flops, share: None, kiln, eager, compiled }
    }

    /// Compares Kiln with what the device can do.
    pub fn set_share(&mut self, ceilings: &Ceilings) {
        let us = self.kiln.as_ref().and_then(us);
        self.share = us.and_then(|us| ceilings.share(self, us));
    }

    /// The sides that failed, with the reason.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("kiln", &self.kiln), ("eager", &self.eager), ("compiled", &self.compiled)]
            .into_iter()
            .filter_map(|(side, answer)| Some((side, answer.as_ref()?.as_ref().err()?.as_str())))
    }

    /// The time of one side over that of Kiln.
    fn ratio(&self, other: &Option<Answer>) -> Option<f64> {
        Some(us(other.as_ref()?)? / us(self.kiln.as_ref()?)?)
    }

    /// The same as an object of JSON in a line.
    pub fn json(&self) -> String {
        let part = |answer: &Option<Answer>, part: fn(&Measure) -> Option<f64>| {
            answer.as_ref().and_then(|answer| part(answer.as_ref().ok()?))
        };
        let time = |answer| part(answer, |measure| Some(measure.us));
        let peak = |answer| part(answer, |measure| measure.peak_mb);
        let errors: serde_json::Map<_, _> =
            self.errors().map(|(side, error)| (side.into(), error.into())).collect();
        let row = json!({
            "workload": self.name,
            "kiln_us": time(&self.kiln),
            "eager_us": time(&self.eager),
            "compiled_us": time(&self.compiled),
            "ratio_eager": self.ratio(&self.eager),
            "ratio_compiled": self.ratio(&self.compiled),
            "ceiling_share": self.share,
            "flops": self.flops,
            "bytes": self.least_bytes,
            "kiln_mb": peak(&self.kiln),
            "eager_mb": peak(&self.eager),
            "compiled_mb": peak(&self.compiled),
            "errors": errors,
        });
        row.to_string()
    }
}

fn us(answer: &Answer) -> Option<f64> {
    answer.as_ref().ok().map(|measure| measure.us)
}

/// The median of the turns of a side, or its error.
fn middle(turns: Vec<Answer>) -> Option<Answer> {
    if turns.is_empty() {
        return None;
    }
    Some(turns.into_iter().collect::<Result<Vec<Measure>, _>>().map(|turns| {
        let mut times: Vec<f64> = turns.iter().map(|turn| turn.us).collect();
        let us = median(&mut times);
        Measure { us, ..turns.into_iter().next_back().expect("there is one at least") }
    }))
}

/// The two lines above the rows.
pub const HEADER: &str = "                               \
    microseconds                   torch / kiln  % of peak megabytes\n\
    workload                           kiln     eager  compiled  eager compil ceil    kiln   eager";

/// A number in so many columns and with so many digits behind the point, or that there is none.
struct Cell(Option<f64>, usize, usize);

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(value, width, digits) = self;
        match value {
            Some(value) => write!(f, " {value:>width$.digits$}"),
            None => write!(f, " {:>width$}", "-"),
        }
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |answer: &Option<Answer>| match answer {
            Some(Err(_)) => format!(" {:>9}", "failed"),
            other => Cell(other.as_ref().and_then(us), 9, 1).to_string(),
        };
        let peak = |answer: &Option<Answer>| {
            let peak = answer.as_ref().and_then(|answer| answer.as_ref().ok()?.peak_mb);
            Cell(peak, 7, 0)
        };
        write!(f, "{:<29}", self.name)?;
        write!(f, "{}{}{}", time(&self.kiln), time(&self.eager), time(&self.compiled))?;
        let ratio = |other| Cell(self.ratio(other), 6, 2);
        write!(f, "{}{}", ratio(&self.eager), ratio(&self.compiled))?;
        write!(f, "{}", Cell(self.share.map(|share| 100.0 * share), 4, 0))?;
        write!(f, "{}{}", peak(&self.kiln), peak(&self.eager))?;
        for (side, error) in self.errors() {
            let short: String = error.lines().next().unwrap_or_default().chars().take(60).collect();
            write!(f, "\n    {side}: {short}")?;
        }
        Ok(())
    }
}

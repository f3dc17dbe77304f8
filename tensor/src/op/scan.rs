//! Running totals along one axis.

use smallvec::SmallVec;

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result};

/// Combines each entry of an axis with all before it.
///
/// `x`: `[.., n, ..]`, numbers. Result: same shape and dtype; for the running extrema also, as i64,
/// where each came from. Floats are carried on in f64 and rounded once for each entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scan {
    /// How entries are combined.
    pub kind: ScanKind,
    /// The axis along which they follow each other.
    pub axis: usize,
}

/// How [`Scan`] combines entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanKind {
    /// `torch.cumsum`.
    Sum,
    /// `torch.cumprod`.
    Prod,
    /// `torch.cummax`: the last of equal entries counts, and NaN from the first one on.
    Max,
    /// `torch.cummin`: the last of equal entries counts, and NaN from the first one on.
    Min,
    /// `log(sum(exp(x)))` without overflow: `torch.logcumsumexp`. Floats only.
    LogSumExp,
}

impl ScanKind {
    /// Every kind, for tables and tests.
    pub const ALL: [ScanKind; 5] =
        [ScanKind::Sum, ScanKind::Prod, ScanKind::Max, ScanKind::Min, ScanKind::LogSumExp];

    /// Whether the result says where each value came from.
    pub const fn has_indices(self) -> bool {
        matches!(self, ScanKind::Max | ScanKind::Min)
    }
}

impl Operation for Scan {
    fn name(&self) -> &'static str {
        match self.kind {
            ScanKind::Sum => "cumsum",
            ScanKind::Prod => "cumprod",
            ScanKind::Max => "cummax",
            ScanKind::Min => "cummin",
            ScanKind::LogSumExp => "logcumsumexp",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        check::axis(self.name(), x, self.axis)?;
        if self.kind == ScanKind::LogSumExp {
            check::floats(self.name(), inputs)?;
        }
        if x.dtype == DType::Bool || x.dtype.is_complex() {
            return Err(check::dtype_error(self.name(), inputs, "real numbers are needed"));
        }
        let mut metas = one(*x);
        if self.kind.has_indices() {
            metas.push(Meta::new(x.shape, DType::I64));
        }
        Ok(metas)
    }

    fn keeps(&self, _: u32) -> Keeps {
        match self.kind {
            ScanKind::Sum => Keeps::NOTHING,
            ScanKind::Prod | ScanKind::LogSumExp => Keeps { inputs: 1, outputs: 1 },
            ScanKind::Max | ScanKind::Min => Keeps { inputs: 0, outputs: 0b10 },
        }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let each = if self.kind == ScanKind::LogSumExp { 22 } else { 1 };
        inputs[0].len() as u64 * each
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in, int};
        for kind in ScanKind::ALL {
            for axis in 0..3 {
                samples.case(Scan { kind, axis }, [float([3, 4, 5])]);
            }
            samples.case(Scan { kind, axis: 0 }, [float([1])]);
            samples.rough(Scan { kind, axis: 1 }, [float([3, 0])]);
            samples.rough(Scan { kind, axis: 0 }, [float_in([300, 70], -1.1, 1.1)]);
            if kind != ScanKind::LogSumExp {
                samples.rough(Scan { kind, axis: 1 }, [int([3, 5], 1, 4)]);
            }
        }
    }
}

/// `h[t] = a[t] * h[t - 1] + b[t]` along one axis, from `h[0] = b[0]`; `a[0]` is not used. The
/// gradient of running products and of linear state-space models.
///
/// Inputs: `a` and `b` of one shape and float type. Result: the same. Carried on in f64 and rounded
/// once for each entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearRecurrence {
    /// The axis of time.
    pub axis: usize,
}

impl Operation for LinearRecurrence {
    fn name(&self) -> &'static str {
        "linear_recurrence"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [a, _] = check::arity(self.name(), inputs)?;
        check::floats(self.name(), inputs)?;
        check::same_shape(self.name(), inputs)?;
        check::axis(self.name(), a, self.axis)?;
        Ok(SmallVec::from_slice(&[*a]))
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        Keeps { inputs: 1, outputs: tracked & 1 }
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        2 * inputs[0].len() as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, float_in};
        for axis in 0..3 {
            samples.case(LinearRecurrence { axis }, [float([3, 4, 2]), float([3, 4, 2])]);
        }
        samples.rough(LinearRecurrence { axis: 0 }, [float([0, 2]), float([0, 2])]);
        let [a, b] = [float_in([300, 70], -0.9, 0.9), float([300, 70])];
        samples.rough(LinearRecurrence { axis: 0 }, [a, b]);
    }
}

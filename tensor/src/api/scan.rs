//! Running totals along one axis.

use super::sort::typed;
use crate::error::OrFail;
use crate::op::ScanKind;
use crate::shape::{AxisIndex, resolve_axis};
use crate::tensor::{Float, Int, Numeric, Tensor};

macro_rules! scans {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name(&self, dim: impl AxisIndex) -> Self {
            let axis = resolve_axis(stringify!($name), dim, D).or_fail();
            Self::from_any(self.as_any().scan(ScanKind::$kind, axis))
        }
    )*};
}

impl<const D: usize, K: Numeric> Tensor<D, K> {
    scans! {
        /// The sum of each entry of `dim` and all before it: `torch.cumsum`; integers keep their
        /// dtype and wrap.
        cumsum: Sum;
        /// The product of each entry of `dim` and all before it: `torch.cumprod`; integers keep
        /// their dtype and wrap.
        cumprod: Prod;
        /// The largest of each entry of `dim` and all before it: `torch.cummax`. NaN from the first
        /// one on.
        cummax: Max;
        /// The smallest of each entry of `dim` and all before it: `torch.cummin`. NaN from the
        /// first one on.
        cummin: Min;
    }

    /// As [`Tensor::cummax`], and where each came from: the last of equal entries.
    #[track_caller]
    pub fn cummax_with_indices(&self, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        let axis = resolve_axis("cummax", dim, D).or_fail();
        typed(self.as_any().scan_with_indices(true, axis))
    }

    /// As [`Tensor::cummin`], and where each came from: the last of equal entries.
    #[track_caller]
    pub fn cummin_with_indices(&self, dim: impl AxisIndex) -> (Self, Tensor<D, Int>) {
        let axis = resolve_axis("cummin", dim, D).or_fail();
        typed(self.as_any().scan_with_indices(false, axis))
    }
}

impl<const D: usize> Tensor<D, Float> {
    scans! {
        /// The logarithm of the sum of the exponentials of each entry of `dim` and all before it,
        /// without overflow: `torch.logcumsumexp`.
        logcumsumexp: LogSumExp;
    }

    /// `h[t] = self[t] * h[t - 1] + b[t]` along `dim`, from `h[0] = b[0]`; the first entry of this
    /// tensor is not used. Both have one shape. A moving average, or a linear state-space model.
    ///
    /// ```
    /// use kiln_tensor::Tensor;
    /// let decay = Tensor::<1>::from([0.5, 0.5, 0.5]);
    /// let h = decay.linear_recurrence(Tensor::<1>::from([4.0, 0.0, 1.0]), 0);
    /// assert_eq!(h.to_data().to_vec::<f32>()?, [4.0, 2.0, 2.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn linear_recurrence(&self, b: impl AsRef<Self>, dim: impl AxisIndex) -> Self {
        let axis = resolve_axis("linear_recurrence", dim, D).or_fail();
        Self::from_any(self.as_any().linear_recurrence(b.as_ref().as_any(), axis))
    }
}

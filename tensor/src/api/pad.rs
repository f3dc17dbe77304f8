//! More entries around a tensor.

use crate::error::OrFail;
use crate::op::View;
use crate::ops::padded;
use crate::tensor::{Kind, Tensor};
use crate::{AnyTensor, AxisSlice, Error, Result, Scalar, Shape};

/// What [`Tensor::pad`] fills the new entries with. A number means [`PadMode::Constant`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// One number.
    Constant(f64),
    /// The entries inside, mirrored at the edge, which is not repeated: `3 2 | 1 2 3 | 2 1`.
    Reflect,
    /// The entry at the edge: `1 1 | 1 2 3 | 3 3`. PyTorch's "replicate".
    Edge,
    /// The entries from the other end: `2 3 | 1 2 3 | 1 2`.
    Circular,
}

impl Default for PadMode {
    fn default() -> Self {
        PadMode::Constant(0.0)
    }
}

impl<T: Into<Scalar>> From<T> for PadMode {
    fn from(value: T) -> Self {
        PadMode::Constant(value.into().to_f64())
    }
}

/// How many entries [`Tensor::pad`] adds before and after those of each axis: pairs for the last
/// axes, or `(left, right, top, bottom)` for the last two.
pub trait IntoPadding<const D: usize> {
    /// A pair for each axis.
    fn into_padding(self) -> [(usize, usize); D];
}

#[track_caller]
fn of_last_axes<const D: usize>(pairs: &[(usize, usize)]) -> [(usize, usize); D] {
    let mut pads = [(0, 0); D];
    let Some(lead) = D.checked_sub(pairs.len()) else {
        let rule = format!("{} pairs for {D} axes", pairs.len());
        crate::fail(Error::Argument { op: "pad", rule });
    };
    pads[lead..].copy_from_slice(pairs);
    pads
}

impl<const D: usize, const N: usize> IntoPadding<D> for [(usize, usize); N] {
    #[track_caller]
    fn into_padding(self) -> [(usize, usize); D] {
        of_last_axes(&self)
    }
}

impl<const D: usize> IntoPadding<D> for &[(usize, usize)] {
    #[track_caller]
    fn into_padding(self) -> [(usize, usize); D] {
        of_last_axes(self)
    }
}

impl<const D: usize> IntoPadding<D> for Vec<(usize, usize)> {
    #[track_caller]
    fn into_padding(self) -> [(usize, usize); D] {
        of_last_axes(&self)
    }
}

impl<const D: usize> IntoPadding<D> for (usize, usize, usize, usize) {
    #[track_caller]
    fn into_padding(self) -> [(usize, usize); D] {
        let (left, right, top, bottom) = self;
        of_last_axes(&[(top, bottom), (left, right)])
    }
}

impl<const D: usize, K: Kind> Tensor<D, K> {
    /// The tensor with more entries around it: `torch.nn.functional.pad`, for any number of axes in
    /// every mode. `padding` are pairs `(before, after)` for the last axes, from the first of them
    /// on (PyTorch goes from the last), or `(left, right, top, bottom)`.
    ///
    /// ```
    /// use kiln_tensor::{PadMode, Tensor};
    /// let x = Tensor::<2>::from([[1.0, 2.0, 3.0]]);
    /// let y = x.pad([(2, 1)], PadMode::Reflect);
    /// assert_eq!(y.into_data().to_vec::<f32>()?, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    /// assert_eq!(x.pad((1, 1, 2, 0), 0.5).dims(), [3, 5]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn pad(&self, padding: impl IntoPadding<D>, mode: impl Into<PadMode>) -> Self {
        let (pads, mode) = (padding.into_padding(), mode.into());
        if pads.iter().all(|&pad| pad == (0, 0)) {
            return self.clone();
        }
        if let PadMode::Constant(value) = mode {
            return Self::from_any(self.as_any().pad_constant(&pads, value.into()));
        }
        let mut result = self.as_any().clone();
        for (axis, &pad) in pads.iter().enumerate().filter(|(_, pad)| **pad != (0, 0)) {
            result = pad_axis(&result, axis, pad, mode).or_fail();
        }
        Self::from_any(result)
    }
}

/// Padded along one axis with entries of the tensor itself.
#[track_caller]
fn pad_axis(
    x: &AnyTensor,
    axis: usize,
    (before, after): (usize, usize),
    mode: PadMode,
) -> Result<AnyTensor> {
    let shape = x.shape();
    let extent = shape[axis];
    let (name, most) = match mode {
        PadMode::Reflect => ("Reflect", extent.saturating_sub(1)),
        PadMode::Circular => ("Circular", extent),
        _ => ("edge", if extent == 0 { 0 } else { usize::MAX }),
    };
    if before.max(after) > most {
        let rule = format!(
            "{name} padding ({before}, {after}) is too much for axis {axis} of extent {extent}: it \
             takes at most {most}"
        );
        return Err(Error::Shape { op: "pad", shapes: vec![shape], rule });
    }
    padded(&shape, axis, before, after)?;
    let part = |start: usize, len: usize, step: isize| {
        let slice = AxisSlice { axis, start, len, step };
        x.apply(View::Slice([slice].into_iter().collect()), &[])
    };
    let repeated = |at: usize, len: usize| -> Result<AnyTensor> {
        Ok(part(at, 1, 1).expand(Shape::try_new(&shape.with(axis, len))?))
    };
    let (front, back) = match mode {
        PadMode::Reflect => (part(before, before, -1), part(extent.saturating_sub(2), after, -1)),
        PadMode::Circular => (part(extent - before, before, 1), part(0, after, 1)),
        _ => (repeated(0, before)?, repeated(extent - 1, after)?),
    };
    let parts = [&front, x, &back];
    let parts: Vec<&AnyTensor> = parts.into_iter().filter(|part| part.shape()[axis] > 0).collect();
    Ok(AnyTensor::cat(&parts, axis))
}

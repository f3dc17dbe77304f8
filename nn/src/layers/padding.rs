//! What layers with windows add around their input.

use kiln_tensor::{PadMode, Tensor, TensorData};

use crate::Config;

/// What is added before and after each of `N` axes; `None` to keep the extent.
pub(super) type Pads<const N: usize> = Option<[(usize, usize); N]>;

/// What is added around a sequence.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum PaddingConfig1d {
    /// As much as keeps the length, or divides it by the stride, rounded up. An odd number adds
    /// one more at the end, as in PyTorch.
    Same,
    /// Nothing.
    Valid,
    /// So much on the left and on the right.
    Explicit(usize, usize),
}

/// What is added around an image.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum PaddingConfig2d {
    /// As much as keeps the extents, or divides them by the stride, rounded up. An odd number adds
    /// one more at the end, as in PyTorch.
    Same,
    /// Nothing.
    Valid,
    /// So much at the top, on the left, at the bottom and on the right.
    Explicit(usize, usize, usize, usize),
}

/// What is added around a volume.
#[derive(Config, Copy, Debug, PartialEq, Eq)]
pub enum PaddingConfig3d {
    /// As much as keeps the extents, or divides them by the stride, rounded up. An odd number adds
    /// one more at the end, as in PyTorch.
    Same,
    /// Nothing.
    Valid,
    /// So much in front, at the top, on the left, in the back, at the bottom and on the right.
    Explicit(usize, usize, usize, usize, usize, usize),
}

impl PaddingConfig1d {
    pub(super) fn pads(self) -> Pads<1> {
        match self {
            Self::Same => None,
            Self::Valid => Some([(0, 0)]),
            Self::Explicit(left, right) => Some([(left, right)]),
        }
    }
}

impl PaddingConfig2d {
    pub(super) fn pads(self) -> Pads<2> {
        match self {
            Self::Same => None,
            Self::Valid => Some([(0, 0); 2]),
            Self::Explicit(top, left, bottom, right) => Some([(top, bottom), (left, right)]),
        }
    }
}

impl PaddingConfig3d {
    pub(super) fn pads(self) -> Pads<3> {
        match self {
            Self::Same => None,
            Self::Valid => Some([(0, 0); 3]),
            Self::Explicit(front, top, left, back, bottom, right) => {
                Some([(front, back), (top, bottom), (left, right)])
            }
        }
    }
}

/// The same on both sides.
impl From<usize> for PaddingConfig1d {
    fn from(padding: usize) -> Self {
        Self::Explicit(padding, padding)
    }
}

/// `[height, width]`, the same on both sides.
impl From<[usize; 2]> for PaddingConfig2d {
    fn from([height, width]: [usize; 2]) -> Self {
        Self::Explicit(height, width, height, width)
    }
}

/// `[depth, height, width]`, the same on both sides.
impl From<[usize; 3]> for PaddingConfig3d {
    fn from([depth, height, width]: [usize; 3]) -> Self {
        Self::Explicit(depth, height, width, depth, height, width)
    }
}

/// What stands in what is added around a tensor.
#[derive(Config, Copy, Debug, PartialEq)]
pub enum PaddingMode {
    /// Zeros.
    Zeros,
    /// One number.
    Constant(f64),
    /// What is inside, mirrored at the edge, which is not repeated: `3 2 | 1 2 3 | 2 1`.
    Reflect,
    /// The number at the edge: `1 1 | 1 2 3 | 3 3`.
    Replicate,
    /// What is at the other end: `2 3 | 1 2 3 | 1 2`.
    Circular,
}

impl From<PaddingMode> for PadMode {
    fn from(mode: PaddingMode) -> Self {
        match mode {
            PaddingMode::Zeros => PadMode::Constant(0.0),
            PaddingMode::Constant(value) => PadMode::Constant(value),
            PaddingMode::Reflect => PadMode::Reflect,
            PaddingMode::Replicate => PadMode::Edge,
            PaddingMode::Circular => PadMode::Circular,
        }
    }
}

/// One number for each axis: a plain number stands for one axis.
pub(super) trait Extents<const N: usize> {
    fn array(self) -> [usize; N];
}

impl Extents<1> for usize {
    fn array(self) -> [usize; 1] {
        [self]
    }
}

impl<const N: usize> Extents<N> for [usize; N] {
    fn array(self) -> [usize; N] {
        self
    }
}

/// How windows lie on the last `N` axes of a tensor.
#[derive(Clone, Copy)]
pub(super) struct Windows<const N: usize> {
    pub kernel: [usize; N],
    pub stride: [usize; N],
    pub dilation: [usize; N],
}

impl<const N: usize> Windows<N> {
    pub fn new(
        kernel: impl Extents<N>,
        stride: impl Extents<N>,
        dilation: impl Extents<N>,
    ) -> Self {
        Self { kernel: kernel.array(), stride: stride.array(), dilation: dilation.array() }
    }

    /// What is added before and after each axis of a tensor of shape `dims`.
    pub fn pads<const D: usize>(&self, pads: Pads<N>, dims: [usize; D]) -> [(usize, usize); N] {
        pads.unwrap_or_else(|| {
            std::array::from_fn(|axis| {
                let (extent, stride) = (dims[D - N + axis], self.stride[axis].max(1));
                let span = self.kernel[axis].saturating_sub(1) * self.dilation[axis] + 1;
                let last = extent.div_ceil(stride).saturating_sub(1) * stride;
                let total = (last + span).saturating_sub(extent);
                (total / 2, total - total / 2)
            })
        })
    }
}

impl<const N: usize> Windows<N> {
    /// How many elements of `x` and the `padding` on both sides each window has that gives `pooled`:
    /// fewer than others where it hangs over the end. `[1, 1, ..]`; there is no dilation.
    pub fn counts<const D: usize>(
        &self,
        x: &Tensor<D>,
        padding: [usize; N],
        pooled: &Tensor<D>,
    ) -> Tensor<D> {
        let along = |axis: usize| -> Vec<usize> {
            let end = x.dims()[D - N + axis] + 2 * padding[axis];
            let starts = (0..pooled.dims()[D - N + axis]).map(|i| i * self.stride[axis]);
            starts.map(|start| self.kernel[axis].min(end - start)).collect()
        };
        let counts = (0..N).map(along).fold(vec![1], |counts, along| {
            counts.iter().flat_map(|count| along.iter().map(move |more| count * more)).collect()
        });
        let counts: Vec<f64> = counts.into_iter().map(|count| count as f64).collect();
        let mut shape = pooled.dims();
        shape[..D - N].fill(1);
        Tensor::from_data(TensorData::new(counts, shape), (&x.device(), x.dtype()))
    }
}

/// The paddings if they are the same on both sides of each axis.
pub(super) fn symmetric<const N: usize>(pads: [(usize, usize); N]) -> Option<[usize; N]> {
    pads.iter().all(|(before, after)| before == after).then(|| pads.map(|(before, _)| before))
}

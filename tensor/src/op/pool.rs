//! Pooling over windows of an image, and its gradients.

use smallvec::smallvec;

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::{DType, Result, Shape};

/// How the window moves over the image; `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dOptions {
    /// Extent of the window.
    pub kernel: [usize; 2],
    /// Distance of neighbouring windows.
    pub stride: [usize; 2],
    /// Border added on both sides, at most half the window.
    pub padding: [usize; 2],
    /// Distance of neighbouring elements of the window; a mean is only taken of adjacent ones.
    pub dilation: [usize; 2],
    /// Whether a last window may hang over the end of the padded image. It must start inside of
    /// the image or its border in front.
    pub ceil_mode: bool,
}

impl Pool2dOptions {
    /// Windows of `kernel` side by side.
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: kernel, padding: [0, 0], dilation: [1, 1], ceil_mode: false }
    }

    /// Extent of the window along `axis` with the gaps of the dilation.
    pub(crate) fn span(&self, axis: usize) -> usize {
        self.kernel[axis].saturating_sub(1).saturating_mul(self.dilation[axis]).saturating_add(1)
    }

    /// Number of windows along `axis` (0 height, 1 width) of `extent` pixels, if one fits.
    fn output(&self, axis: usize, extent: usize) -> Option<usize> {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let sound = extent > 0 && self.kernel[axis] > 0 && self.dilation[axis] > 0;
        (sound && padding <= self.span(axis) / 2).then_some(())?;
        let overhang = if self.ceil_mode { stride.checked_sub(1)? } else { 0 };
        let room = (extent + 2 * padding).checked_add(overhang)?.checked_sub(self.span(axis))?;
        let count = room.checked_div(stride)? + 1;
        let outside = self.ceil_mode && (count - 1) * stride >= extent + padding;
        Some(count - usize::from(outside))
    }

    fn check(&self, op: &'static str, x: &Meta) -> Result<Shape> {
        check::floats(op, &[*x])?;
        check::rank(op, x, 4, "[n, c, h, w]")?;
        let count = |axis: usize| self.output(axis, x.shape[2 + axis]);
        let (Some(oh), Some(ow)) = (count(0), count(1)) else {
            let rule = format!("{self:?} does not fit the image");
            return Err(check::shape_error(op, &[*x], rule));
        };
        Ok(x.shape.with(2, oh).with(3, ow))
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples() -> Vec<([usize; 4], Self)> {
        vec![
            ([2, 3, 6, 4], Self::new([2, 2])),
            ([1, 2, 7, 5], Self { stride: [2, 1], padding: [1, 1], ..Self::new([3, 2]) }),
            ([2, 1, 5, 5], Self { stride: [1, 1], padding: [0, 1], ..Self::new([3, 3]) }),
            ([1, 2, 6, 8], Self { ceil_mode: true, padding: [1, 0], ..Self::new([3, 3]) }),
            ([0, 1, 4, 4], Self::new([2, 2])),
            ([1, 2, 9, 37], Self::new([2, 2])),
            ([1, 1, 8, 35], Self { stride: [2, 2], padding: [1, 1], ..Self::new([3, 3]) }),
            ([1, 1, 7, 20], Self { stride: [3, 3], ..Self::new([2, 2]) }),
        ]
    }
}

/// The largest element of each window, and where it was.
///
/// `x`: `[n, c, h, w]`. Results: the maxima `[n, c, oh, ow]` and their indices, i32 into the
/// flattened `h * w` image; the first of equal ones, NaN before all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPool2d {
    /// How the window moves.
    pub options: Pool2dOptions,
}

impl Operation for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        let shape = self.options.check(self.name(), x)?;
        if x.shape[2].saturating_mul(x.shape[3]) > i32::MAX as usize {
            return Err(check::shape_error(self.name(), inputs, "an image of 2^31 or more pixels"));
        }
        Ok(smallvec![Meta { shape, dtype: x.dtype }, Meta { shape, dtype: DType::I32 }])
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0, outputs: 0b10 }
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        (outputs[0].len() * self.options.kernel[0] * self.options.kernel[1]) as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        for (shape, options) in Pool2dOptions::samples() {
            samples.case(MaxPool2d { options }, [super::samples::float(shape)]);
        }
        let dilated =
            Pool2dOptions { dilation: [2, 3], padding: [1, 2], ..Pool2dOptions::new([2, 2]) };
        samples.case(MaxPool2d { options: dilated }, [super::samples::float([1, 2, 6, 7])]);
    }
}

/// The gradient of [`MaxPool2d`]: each output gradient is added where the maximum was.
///
/// Inputs: `dy` and `indices`, both `[n, c, oh, ow]`. Result: `[n, c, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxPool2dBackward {
    /// Height and width of the image.
    pub size: [usize; 2],
}

impl Operation for MaxPool2dBackward {
    fn name(&self) -> &'static str {
        "max_pool2d_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [dy, indices] = check::arity(self.name(), inputs)?;
        check::rank(self.name(), dy, 4, "[n, c, oh, ow]")?;
        check::same_shape(self.name(), inputs)?;
        check::indices(self.name(), indices)?;
        let [n, c, _, _] = dy.shape.dims();
        let shape = Shape::try_new(&[n, c, self.size[0], self.size[1]])?;
        Ok(one(Meta { shape, dtype: dy.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps { inputs: 0b10, outputs: 0 }
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{float, int};
        let op = MaxPool2dBackward { size: [5, 4] };
        samples.case(op, [float([2, 3, 3, 2]), int([2, 3, 3, 2], 0, 20)]);
    }
}

/// The mean of each window.
///
/// `x`: `[n, c, h, w]`. Result: `[n, c, oh, ow]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPool2d {
    /// How the window moves.
    pub options: Pool2dOptions,
    /// Whether the zeros of the border count as elements, as PyTorch does by default.
    pub count_include_pad: bool,
}

impl Operation for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        if self.options.dilation != [1, 1] {
            return Err(check::argument(self.name(), "a mean has no dilation"));
        }
        let shape = self.options.check(self.name(), x)?;
        Ok(one(Meta { shape, dtype: x.dtype }))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, _: &[Meta], outputs: &[Meta]) -> u64 {
        (outputs[0].len() * self.options.kernel[0] * self.options.kernel[1]) as u64
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        for (shape, options) in Pool2dOptions::samples() {
            for count_include_pad in [true, false] {
                let op = AvgPool2d { options, count_include_pad };
                samples.case(op, [super::samples::float(shape)]);
            }
        }
    }
}

/// The gradient of [`AvgPool2d`]: each output gradient is shared out over its window.
///
/// Input: `dy` `[n, c, oh, ow]`. Result: `[n, c, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPool2dBackward {
    /// The pooling.
    pub pool: AvgPool2d,
    /// Height and width of the image.
    pub size: [usize; 2],
}

impl Operation for AvgPool2dBackward {
    fn name(&self) -> &'static str {
        "avg_pool2d_backward"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [dy] = check::arity(self.name(), inputs)?;
        check::rank(self.name(), dy, 4, "[n, c, oh, ow]")?;
        let [n, c, _, _] = dy.shape.dims();
        let shape = Shape::try_new(&[n, c, self.size[0], self.size[1]])?;
        let meta = Meta { shape, dtype: dy.dtype };
        if self.pool.options.check(self.name(), &meta)? != dy.shape {
            let rule = format!("{:?} on {shape} does not give this output", self.pool.options);
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(meta))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        let mut pools = super::samples::Samples::default();
        AvgPool2d::samples(&mut pools);
        for case in pools.cases {
            let super::Op::AvgPool2d(pool) = case.op else { unreachable!() };
            let x = case.inputs[0].shape;
            let y = pool.options.check("sample", &Meta::new(x, DType::F32)).expect("it fits");
            let op = AvgPool2dBackward { pool, size: [x[2], x[3]] };
            samples.case(op, [super::samples::float(y)]);
        }
    }
}

//! Views: operations that move no byte.

use smallvec::SmallVec;

use super::{Keeps, Meta, Metas, Operation, check, one};
use crate::layout::{AxisSlice, Layout};
use crate::{DType, Error, Result, Shape};

/// A new [`Layout`] of the same bytes. Backends never see one: `apply` resolves it on the spot. It
/// is an operation so that the tape can route a gradient through it and a recorded program is
/// complete.
///
/// Input `[..]` of any dtype; the output shares its buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// The same elements in row-major order as another shape. The input must be readable so
    /// without a copy; [`AnyTensor::reshape`](crate::AnyTensor::reshape) copies first where it is not.
    Reshape(Shape),
    /// Axis `i` of the output is axis `axes[i]` of the input.
    Permute(SmallVec<[u8; 8]>),
    /// Repeated along axes of extent 1 and new leading axes.
    Expand(Shape),
    /// A part of some axes.
    Slice(SmallVec<[AxisSlice; 1]>),
    /// Windows of `size` along `axis`, `step` apart, as a new last axis.
    Unfold {
        /// The axis that windows slide along.
        axis: usize,
        /// Entries of a window.
        size: usize,
        /// Distance of neighbouring windows.
        step: usize,
    },
    /// The elements with equal indices along two axes, as a new last axis.
    Diagonal(usize, usize),
    /// Complex numbers as pairs of real ones: a new last axis with the real and the imaginary part.
    AsReal,
    /// Pairs of real numbers along the last axis, which must lie side by side, as complex ones.
    AsComplex,
    /// The same elements with no gradient flowing back: `detach`.
    Detach,
}

impl View {
    /// The layout of the output, or the rule that the input breaks.
    pub fn layout(&self, input: &Layout) -> Result<Layout> {
        let (op, shape) = (self.name(), input.shape());
        let error = |rule: String| Error::Shape { op, shapes: vec![*shape], rule };
        match self {
            View::Reshape(to) => {
                if to.num_elements() != shape.num_elements() {
                    return Err(error(format!(
                        "{to} has {} elements, the tensor has {}",
                        to.num_elements(),
                        shape.num_elements()
                    )));
                }
                input.reshape(to).ok_or_else(|| error(format!("can not be viewed as {to}")))
            }
            View::Permute(axes) => {
                let each = |axis: u8| axes.iter().filter(|&&other| other == axis).count() == 1;
                if axes.len() != shape.rank() || !(0..shape.rank() as u8).all(each) {
                    return Err(error(format!("{axes:?} is not a permutation of its axes")));
                }
                let axes: SmallVec<[usize; 8]> = axes.iter().map(|&axis| axis as usize).collect();
                Ok(input.permute(&axes))
            }
            View::Expand(to) => input.expand(to).ok_or_else(|| {
                error(format!("can not be expanded to {to}: only axes of 1 repeat"))
            }),
            View::Slice(slices) => {
                for slice in slices {
                    check::axis(op, &Meta { shape: *shape, dtype: DType::U8 }, slice.axis)?;
                    let extent = shape[slice.axis];
                    let last = slice.len.checked_sub(1).map_or(Some(0), |steps| {
                        let distance = isize::try_from(steps).ok()?.checked_mul(slice.step)?;
                        (slice.start as isize).checked_add(distance)
                    });
                    let inside = slice.len == 0
                        || (slice.start < extent
                            && last.is_some_and(|last| (0..extent as isize).contains(&last)));
                    if slice.step == 0 || !inside {
                        return Err(error(format!(
                            "start {}, {} entries, step {} leave axis {} of extent {extent}",
                            slice.start, slice.len, slice.step, slice.axis
                        )));
                    }
                }
                Ok(input.slice(slices))
            }
            &View::Unfold { axis, size, step } => {
                check::axis(op, &Meta { shape: *shape, dtype: DType::U8 }, axis)?;
                if size == 0 || step == 0 || size > shape[axis] {
                    return Err(error(format!(
                        "windows of {size}, {step} apart, do not fit axis {axis}"
                    )));
                }
                shape.inserted(shape.rank(), size)?;
                Ok(input.unfold(axis, size, step))
            }
            &View::Diagonal(first, second) => {
                if first == second || first.max(second) >= shape.rank() {
                    return Err(error(format!("{first} and {second} are not two of its axes")));
                }
                Ok(input.diagonal(first, second))
            }
            View::AsReal => {
                shape.inserted(shape.rank(), 2)?;
                Ok(input.as_real())
            }
            View::AsComplex => input
                .as_complex()
                .ok_or_else(|| error("the last axis must be pairs that lie side by side".into())),
            View::Detach => Ok(*input),
        }
    }

    /// The dtype of the output, or the rule that the input breaks.
    #[inline]
    pub fn dtype(&self, input: DType) -> Result<DType> {
        let wrong = |rule: &str| {
            Err(Error::DType { op: self.name(), dtypes: vec![input], rule: rule.into() })
        };
        match self {
            View::AsReal if !input.is_complex() => wrong("a complex tensor is needed"),
            View::AsReal => Ok(input.real()),
            View::AsComplex if !matches!(input, DType::F32 | DType::F64) => {
                wrong("the parts of a complex number are f32 or f64")
            }
            View::AsComplex => Ok(input.complex()),
            _ => Ok(input),
        }
    }
}

impl Operation for View {
    fn name(&self) -> &'static str {
        match self {
            View::Reshape(_) => "reshape",
            View::Permute(_) => "permute",
            View::Expand(_) => "expand",
            View::Slice(_) => "slice",
            View::Unfold { .. } => "unfold",
            View::Diagonal(..) => "diagonal",
            View::AsReal => "view_as_real",
            View::AsComplex => "view_as_complex",
            View::Detach => "detach",
        }
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [input] = check::arity(self.name(), inputs)?;
        let layout = self.layout(&Layout::contiguous(input.shape))?;
        Ok(one(Meta::new(layout.shape(), self.dtype(input.dtype)?)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    fn flops(&self, _: &[Meta], _: &[Meta]) -> u64 {
        0
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{complex, float};
        samples.case(View::AsReal, [complex([2, 3])]);
        samples.case(View::AsComplex, [float([3, 2])]);
        samples.case(View::Reshape(Shape::new([3, 2])), [float([2, 3])]);
        samples.case(View::Permute([2, 0, 1].into_iter().collect()), [float([2, 3, 4])]);
        samples.case(View::Expand(Shape::new([4, 2, 3])), [float([2, 1])]);
        let slice = |axis, start, len, step| AxisSlice { axis, start, len, step };
        samples.case(View::Slice([slice(1, 3, 2, -2)].into_iter().collect()), [float([2, 5])]);
        let two = [slice(0, 1, 2, 1), slice(2, 0, 2, 3)];
        samples.case(View::Slice(two.into_iter().collect()), [float([3, 2, 5])]);
        samples.case(View::Unfold { axis: 0, size: 3, step: 2 }, [float([7, 2])]);
        samples.case(View::Unfold { axis: 1, size: 2, step: 1 }, [float([2, 4])]);
        samples.case(View::Diagonal(0, 2), [float([3, 2, 4])]);
    }
}

/// The transpose of a [`View`] as a linear map, which is its gradient: zeros of the viewed shape,
/// to which each element of the input is added where the view read it.
///
/// `x`: the view's shape, float or int. Result: `shape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unview {
    /// The view. Boxed, or it would make every operation larger: nodes of the tape hold one.
    pub view: Box<View>,
    /// The shape that it was taken of.
    pub shape: Shape,
}

impl Operation for Unview {
    fn name(&self) -> &'static str {
        "unview"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        let [x] = check::arity(self.name(), inputs)?;
        if matches!(*self.view, View::AsReal | View::AsComplex) {
            return Err(check::argument(self.name(), "complex views are each other's gradient"));
        }
        let layout = self.view.layout(&Layout::contiguous(self.shape))?;
        if x.shape != *layout.shape() {
            let rule = format!("the view of {} has shape {}", self.shape, layout.shape());
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(one(Meta::new(self.shape, x.dtype)))
    }

    fn keeps(&self, _: u32) -> Keeps {
        Keeps::NOTHING
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{Samples, float};
        let mut views = Samples::default();
        View::samples(&mut views);
        for case in views.cases {
            let super::Op::View(view) = case.op else { unreachable!() };
            if matches!(view, View::AsReal | View::AsComplex) {
                continue; // Their gradients are each other.
            }
            let shape = case.inputs[0].shape;
            let layout = view.layout(&Layout::contiguous(shape)).expect("a valid sample");
            samples.case(Unview { view: view.into(), shape }, [float(*layout.shape())]);
        }
    }
}

/// Permutation of `rank` axes that exchanges two of them.
pub(crate) fn swap(rank: usize, a: usize, b: usize) -> View {
    let mut axes: SmallVec<[u8; 8]> = (0..rank as u8).collect();
    axes.swap(a, b);
    View::Permute(axes)
}

/// The inverse of a permutation.
pub fn inverse(axes: &[u8]) -> SmallVec<[u8; 8]> {
    let mut inverse: SmallVec<[u8; 8]> = SmallVec::from_elem(0, axes.len());
    axes.iter().enumerate().for_each(|(to, &from)| inverse[from as usize] = to as u8);
    inverse
}

//! Operations as methods of [`AnyTensor`]: the words in which decompositions, gradient rules and
//! the typed face are written. Each panics with its operation's error text.

// Stands before the modules that use it.
macro_rules! unary {
    ($($name:ident: $kind:ident),* $(,)?) => {$(
        #[doc = concat!("[`UnaryKind::", stringify!($kind), "`] of each element.")]
        #[track_caller]
        pub fn $name(&self) -> Self {
            self.unary(UnaryKind::$kind)
        }
    )*};
}

mod activation;
mod complex;
mod einsum;
mod index;
mod linalg;
mod math;
mod order;

use smallvec::SmallVec;

pub(crate) use index::padded;

use crate::AnyTensor;
use crate::apply::Outputs;
use crate::error::OrFail;
use crate::layout::AxisSlice;
use crate::op::{
    ArgReduce, Axes, Binary, BinaryKind, BinaryScalar, Cast, Cat, Fill, Gather, GatherBackward,
    MatMul, Meta, Reduce, ReduceKind, Select, Softmax, Unary, UnaryKind, Unview, View, Where,
};
use crate::{DType, Device, MAX_RANK, Scalar, Shape};

macro_rules! binary {
    ($($name:ident, $scalar:ident: $kind:ident),* $(,)?) => {$(
        #[doc = concat!("[`BinaryKind::", stringify!($kind), "`] of each pair of elements.")]
        #[track_caller]
        pub fn $name(&self, rhs: &Self) -> Self {
            self.binary(BinaryKind::$kind, rhs)
        }

        #[doc = concat!("[`BinaryKind::", stringify!($kind), "`] of each element and a number.")]
        #[track_caller]
        pub fn $scalar(&self, rhs: impl Into<Scalar>) -> Self {
            self.binary_scalar(BinaryKind::$kind, rhs)
        }
    )*};
}

impl AnyTensor {
    unary! {
        neg: Neg, abs: Abs, sign: Sign, square: Square, logical_not: Not, recip: Recip, sqrt: Sqrt,
        rsqrt: Rsqrt, exp: Exp, expm1: ExpM1, log: Log, log1p: Log1p, sin: Sin, cos: Cos, tan: Tan,
        erf: Erf, floor: Floor, ceil: Ceil, round: Round, trunc: Trunc, relu: Relu,
        sigmoid: Sigmoid, tanh: Tanh,
    }

    binary! {
        add, add_scalar: Add,
        sub, sub_scalar: Sub,
        mul, mul_scalar: Mul,
        div, div_scalar: Div,
        remainder, remainder_scalar: Rem,
        pow, pow_scalar: Pow,
        maximum, maximum_scalar: Max,
        minimum, minimum_scalar: Min,
        equal, equal_scalar: Equal,
        greater, greater_scalar: Greater,
        lower_equal, lower_equal_scalar: LessEqual,
    }

    /// A function of each element.
    #[inline]
    #[track_caller]
    pub fn unary(&self, kind: UnaryKind) -> Self {
        self.apply(Unary { kind }, &[])
    }

    /// A function of each pair of elements. Different dtypes meet at [`DType::promote`].
    #[inline]
    #[track_caller]
    pub fn binary(&self, kind: BinaryKind, rhs: &Self) -> Self {
        if self.dtype() == rhs.dtype() {
            return self.apply(Binary { kind }, &[rhs]);
        }
        let dtype = self.dtype().promote(rhs.dtype());
        self.cast(dtype).apply(Binary { kind }, &[&rhs.cast(dtype)])
    }

    /// As [`AnyTensor::binary`]; this tensor's memory becomes the result's where that is possible.
    #[inline]
    #[track_caller]
    pub fn binary_owned(self, kind: BinaryKind, rhs: &Self) -> Self {
        if self.dtype() == rhs.dtype() {
            return self.apply_owned(Binary { kind }, &[rhs]);
        }
        self.binary(kind, rhs)
    }

    /// As [`AnyTensor::binary`], with the result in the place of this tensor; in its memory where
    /// that is possible.
    #[inline]
    #[track_caller]
    pub fn binary_assign(&mut self, kind: BinaryKind, rhs: &Self) {
        if self.dtype() == rhs.dtype() {
            crate::apply::apply_assign(&Binary { kind }.into(), self, &[rhs]).or_fail();
        } else {
            *self = self.binary(kind, rhs);
        }
    }

    /// A function of each element and a number.
    #[inline]
    #[track_caller]
    pub fn binary_scalar(&self, kind: BinaryKind, scalar: impl Into<Scalar>) -> Self {
        self.apply(BinaryScalar { kind, scalar: scalar.into(), reversed: false }, &[])
    }

    /// As [`AnyTensor::binary_scalar`], with the result in the place of this tensor; in its memory
    /// where that is possible.
    #[inline]
    #[track_caller]
    pub fn binary_scalar_assign(&mut self, kind: BinaryKind, scalar: impl Into<Scalar>) {
        let op = BinaryScalar { kind, scalar: scalar.into(), reversed: false };
        crate::apply::apply_assign(&op.into(), self, &[]).or_fail();
    }

    /// `self` where `mask` is true, `other` elsewhere.
    #[track_caller]
    pub fn select_where(&self, mask: &Self, other: &Self) -> Self {
        mask.apply(Where, &[self, other])
    }

    /// The same numbers as `dtype`.
    #[inline]
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Self {
        if self.dtype() == dtype { self.clone() } else { self.apply(Cast { dtype }, &[]) }
    }

    /// Every element the same number.
    #[track_caller]
    pub fn full(meta: Meta, value: impl Into<Scalar>, device: Device) -> Self {
        Self::create(Fill { value: value.into(), meta }, device)
    }

    /// Ones of the same shape, dtype and device.
    #[track_caller]
    pub fn ones_like(&self) -> Self {
        Self::full(self.meta(), 1, self.device())
    }

    /// Zeros of the same shape, dtype and device.
    #[track_caller]
    pub fn zeros_like(&self) -> Self {
        Self::full(self.meta(), 0, self.device())
    }

    /// The same elements without gaps, in row-major order; no copy if they are so already.
    #[track_caller]
    pub fn contiguous(&self) -> Self {
        if self.layout().is_contiguous() {
            self.clone()
        } else {
            self.apply(Cast { dtype: self.dtype() }, &[])
        }
    }

    /// The same elements as another shape; copies only if no view can do it.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        if shape == *self.shape_ref() {
            return self.clone();
        }
        let fits = shape.num_elements() == self.num_elements();
        let layout = if fits { self.layout().reshape(&shape) } else { None };
        match layout {
            // With nothing to be recorded, the view is all there is to do.
            Some(layout) if self.tracked().is_none() => self.view_as(layout, self.dtype()),
            None if fits => self.contiguous().apply(View::Reshape(shape), &[]),
            _ => self.apply(View::Reshape(shape), &[]),
        }
    }

    /// Axis `i` of the result is axis `axes[i]`.
    #[track_caller]
    pub fn permute(&self, axes: &[u8]) -> Self {
        self.apply(View::Permute(axes.iter().copied().collect()), &[])
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn swap_axes(&self, a: usize, b: usize) -> Self {
        let rank = self.rank();
        if self.tracked().is_none() && a < rank && b < rank {
            // As in `reshape`; gradients exchange axes that nobody follows.
            let mut axes: [usize; MAX_RANK] = std::array::from_fn(|axis| axis);
            axes.swap(a, b);
            return self.view_as(self.layout().permute(&axes[..rank]), self.dtype());
        }
        self.apply(crate::op::swap_view(rank, a, b), &[])
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn transpose(&self) -> Self {
        let rank = self.rank();
        if rank < 2 {
            let rule = "a matrix has at least two axes".into();
            crate::fail(crate::Error::Shape { op: "transpose", shapes: vec![self.shape()], rule });
        }
        self.swap_axes(rank - 2, rank - 1)
    }

    /// Repeated to `shape`.
    #[track_caller]
    pub fn expand(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        if shape == *self.shape_ref() { self.clone() } else { self.apply(View::Expand(shape), &[]) }
    }

    /// `len` entries of `axis` from `start`.
    #[track_caller]
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Self {
        let slice = AxisSlice { axis, start, len, step: 1 };
        self.apply(View::Slice(SmallVec::from_buf([slice])), &[])
    }

    /// Adds up what was spread out when a tensor of `shape` was broadcast to this one's shape.
    #[track_caller]
    pub fn sum_to(&self, shape: &Shape) -> Self {
        if self.shape_ref() == shape {
            return self.clone();
        }
        let lead = self.rank() - shape.rank();
        let broadcast =
            |axis: usize| axis < lead || (shape[axis - lead] == 1 && self.shape_ref()[axis] != 1);
        let axes: Axes = (0..self.rank()).filter(|&axis| broadcast(axis)).collect();
        self.reduce(ReduceKind::Sum, axes).reshape(*shape)
    }

    /// The gradient of a tensor of `shape` through `view`.
    #[track_caller]
    pub fn unview(&self, view: View, shape: Shape) -> Self {
        self.apply(Unview { view: view.into(), shape }, &[])
    }

    /// Combines all elements along `axes`.
    #[track_caller]
    pub fn reduce(&self, kind: ReduceKind, axes: Axes) -> Self {
        self.apply(Reduce { kind, axes }, &[])
    }

    /// The sum along `axis`, which stays with extent 1.
    #[track_caller]
    pub fn sum_axis(&self, axis: usize) -> Self {
        self.reduce(ReduceKind::Sum, Axes::single(axis))
    }

    /// The maximum along `axis`, which stays with extent 1.
    #[track_caller]
    pub fn max_axis(&self, axis: usize) -> Self {
        self.reduce(ReduceKind::Max, Axes::single(axis))
    }

    /// The index of the first extremum along `axis`, which stays with extent 1.
    #[track_caller]
    pub fn arg_reduce(&self, max: bool, axis: usize) -> Self {
        self.apply(ArgReduce { max, axis }, &[])
    }

    /// The matrix product of the last two axes.
    #[track_caller]
    pub fn matmul(&self, rhs: &Self) -> Self {
        self.apply(MatMul::default(), &[rhs])
    }

    /// Softmax along `axis`.
    #[track_caller]
    pub fn softmax(&self, axis: usize) -> Self {
        self.apply(Softmax { axis, log: false }, &[])
    }

    /// Whole entries of `axis`, picked by index.
    #[track_caller]
    pub fn select(&self, axis: usize, indices: &Self) -> Self {
        self.apply(Select { axis }, &[indices])
    }

    /// One element per index along `axis`.
    #[track_caller]
    pub fn gather(&self, axis: usize, indices: &Self) -> Self {
        self.apply(Gather { axis }, &[indices])
    }

    /// Zeros of `shape`, to which each element is added at its index along `axis`.
    #[track_caller]
    pub fn gather_backward(&self, axis: usize, shape: Shape, indices: &Self) -> Self {
        self.apply(GatherBackward { axis, shape }, &[indices])
    }

    /// Tensors one after the other along `axis`.
    #[track_caller]
    pub fn cat(tensors: &[&Self], axis: usize) -> Self {
        let Some((first, rest)) = tensors.split_first() else {
            let rule = "at least one tensor is needed".into();
            crate::fail(crate::Error::Argument { op: "cat", rule });
        };
        let outputs: Outputs = first.apply_all(Cat { axis }, rest);
        outputs.into_iter().next().expect("an output")
    }
}

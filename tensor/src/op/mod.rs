//! The operation set: what each operation is, on any device.
//!
//! An operation is a value of [`Op`]; tensors are its positional inputs. One file per family says
//! everything that is true of it anywhere: the shape and dtype rule, what backward keeps, its cost,
//! its decomposition into smaller operations, and sample inputs for the tests. To add one: write
//! its struct with an [`Operation`] impl, add a line to the table below, and follow the compiler to
//! the kernel of each backend and to the gradient rule.

mod activation;
mod assign;
mod attention;
mod binary;
mod binary_scalar;
pub(crate) mod check;
mod choose;
mod complex;
mod conv;
mod create;
mod custom;
mod dropout;
mod fft;
mod fused;
mod index;
mod linalg;
mod loss;
mod matmul;
mod norm;
mod pool;
mod recurrent;
mod reduce;
mod sample;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod scan;
mod search;
mod softmax;
mod sort;
mod totals;
mod unary;
mod update;
mod view;

use smallvec::SmallVec;

pub use activation::{Activation, ActivationBackward};
pub use assign::{Assign, IndexingUpdateOp, RavelIndex, Scatter};
pub(crate) use attention::Extents;
pub use attention::{Attention, AttentionBackward};
pub use binary::{Binary, BinaryKind};
pub use binary_scalar::BinaryScalar;
pub use choose::{Cast, Where};
pub use complex::Polar;
pub use conv::{Conv2d, Conv2dInputGrad, Conv2dOptions, Conv2dWeightGrad, ConvOptions};
pub use create::{Arange, Distribution, Fill, Random};
pub use custom::{
    CpuInput, CpuKernel, CpuOutput, Custom, CustomOp, Derivative, GradientRule, Kept,
};
pub use dropout::Dropout;
pub use fft::{Fft, FftForm};
pub use fused::{Arg, Chain, Fused, Link};
pub use index::{Cat, Gather, GatherBackward, Select, SelectBackward, cat_parts};
pub use linalg::{Factor, FactorKind, Solve, SolveKind};
pub use loss::{CrossEntropy, CrossEntropyBackward, Reduction};
pub use matmul::{MatMul, MatMulSums};
pub use norm::{BatchNorm, BatchNormBackward, BatchNormEval, LayerNorm, LayerNormBackward};
pub use pool::{AvgPool2d, AvgPool2dBackward, MaxPool2d, MaxPool2dBackward, Pool2dOptions};
pub use recurrent::{
    Recurrent, RecurrentBackward, RecurrentBackwardParts, RecurrentCell, RecurrentParts,
};
pub use reduce::{ArgReduce, Axes, Reduce, ReduceKind};
pub use sample::{Multinomial, Sample, SampleKind};
pub use scan::{LinearRecurrence, Scan, ScanKind};
pub use search::{Nonzero, SearchSorted};
pub use softmax::{Softmax, SoftmaxBackward};
pub use sort::Sort;
pub use totals::{Total, Totals};
pub use unary::{MAX_POLYGAMMA, Unary, UnaryKind};
pub use update::{
    AdadeltaRule, AdagradRule, AdamRule, AdamaxRule, AdanRule, AsgdRule, LionRule, RmsPropRule,
    RpropRule, Rule, ScaleRule, SgdRule, Update,
};
pub(crate) use update::{Formula, Number};
pub(crate) use view::swap as swap_view;
pub use view::{Unview, View, inverse as inverse_permutation};

use crate::{AnyTensor, DType, Result, Shape};

/// Shape and dtype of a tensor: all that a shape rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The extents.
    pub shape: Shape,
    /// The type of the elements.
    pub dtype: DType,
}

impl Meta {
    /// Shape and dtype together.
    #[inline]
    pub fn new(shape: impl Into<Shape>, dtype: DType) -> Self {
        Self { shape: shape.into(), dtype }
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.shape.num_elements()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all elements.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }
}

/// The metas of an operation's outputs; nearly always one.
pub type Metas = SmallVec<[Meta; 1]>;

/// Which inputs and outputs backward needs, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    /// Bit `i` set: input `i` is kept.
    pub inputs: u32,
    /// Bit `i` set: output `i` is kept.
    pub outputs: u32,
}

impl Keeps {
    /// Backward needs no values, only shapes.
    pub const NOTHING: Keeps = Keeps { inputs: 0, outputs: 0 };
    /// Backward needs the first input.
    pub const INPUT: Keeps = Keeps { inputs: 1, outputs: 0 };
    /// Backward needs the first output.
    pub const OUTPUT: Keeps = Keeps { inputs: 0, outputs: 1 };
    /// Backward needs every input.
    pub const INPUTS: Keeps = Keeps { inputs: u32::MAX, outputs: 0 };
}

/// Work of one execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two, an elementary function ten.
    pub flops: u64,
    /// Bytes that must be read and written at least.
    pub bytes: u64,
}

/// What is true of an operation on any device.
pub trait Operation: std::fmt::Debug + Send + Sync {
    /// The name in error texts, summaries and profiles.
    fn name(&self) -> &'static str;

    /// The shape and dtype rule: the outputs for these inputs, or the rule that they break. This
    /// is the one place where inputs are validated; kernels rely on it.
    fn infer(&self, inputs: &[Meta]) -> Result<Metas>;

    /// Whether [`Operation::infer`], given this many inputs of one and the same meta of `dtype`,
    /// returns that meta: then `apply` need not ask, which saves a small operation a fifth of its time. A test
    /// holds both answers together.
    #[inline]
    fn preserves_meta(&self, dtype: DType, inputs: usize) -> bool {
        let _ = (dtype, inputs);
        false
    }

    /// What backward needs if the inputs in `tracked` (one bit each) want a gradient.
    fn keeps(&self, tracked: u32) -> Keeps;

    /// Floating-point operations of one execution.
    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        let _ = inputs;
        outputs.iter().map(|meta| meta.len() as u64).sum()
    }

    /// Bytes that one execution must read and write at least: all inputs and outputs, unless it
    /// leaves out a part of one.
    fn bytes(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        inputs.iter().chain(outputs).map(|meta| meta.bytes() as u64).sum()
    }

    /// Floating-point operations and least memory traffic of one execution.
    fn cost(&self, inputs: &[Meta], outputs: &[Meta]) -> Cost {
        Cost { flops: self.flops(inputs, outputs), bytes: self.bytes(inputs, outputs) }
    }

    /// The same result from smaller operations: the oracle of the kernel, the fallback of a
    /// backend that has none, and the source of second derivatives. `None` for a primitive.
    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let _ = inputs;
        None
    }

    /// Whether each output element depends only on the input elements at its own position, so
    /// that an input nobody else holds may become the output.
    fn elementwise(&self) -> bool {
        false
    }

    /// Sample inputs for the table-driven tests.
    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut samples::Samples)
    where
        Self: Sized;
}

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// An operation as a value. The exhaustive `match`es over it are the kernels of each
        /// backend and the gradient rules: an operation forgotten in one of them does not compile.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Op {
            $($name($name),)*
        }

        impl Op {
            /// What is true of this operation on any device.
            #[inline]
            pub fn spec(&self) -> &dyn Operation {
                match self {
                    $(Op::$name(op) => op,)*
                }
            }
        }

        $(
            impl From<$name> for Op {
                #[inline]
                fn from(op: $name) -> Self {
                    Op::$name(op)
                }
            }
        )*

        /// The samples of every operation of the table.
        #[cfg(any(test, feature = "samples"))]
        pub fn all_samples() -> samples::Samples {
            let mut samples = samples::Samples::default();
            $(<$name as Operation>::samples(&mut samples);)*
            samples
        }
    };
}

// The table. One line per operation; nothing else in this crate lists them.
operations! {
    View,
    Unview,
    Fill,
    Arange,
    Random,
    Cast,
    Unary,
    Polar,
    ActivationBackward,
    Binary,
    BinaryScalar,
    Where,
    Fused,
    Reduce,
    ArgReduce,
    Totals,
    Cat,
    Select,
    SelectBackward,
    Gather,
    GatherBackward,
    Assign,
    Scatter,
    RavelIndex,
    MatMul,
    MatMulSums,
    Factor,
    Solve,
    Fft,
    Conv2d,
    Conv2dInputGrad,
    Conv2dWeightGrad,
    MaxPool2d,
    MaxPool2dBackward,
    AvgPool2d,
    AvgPool2dBackward,
    Softmax,
    SoftmaxBackward,
    Attention,
    AttentionBackward,
    LayerNorm,
    LayerNormBackward,
    BatchNorm,
    BatchNormBackward,
    BatchNormEval,
    CrossEntropy,
    CrossEntropyBackward,
    Recurrent,
    RecurrentBackward,
    Dropout,
    Sort,
    Scan,
    LinearRecurrence,
    Nonzero,
    SearchSorted,
    Update,
    Custom,
    Sample,
    Multinomial,
}

/// One meta as the only output.
#[inline]
pub(crate) fn one(meta: Meta) -> Metas {
    SmallVec::from_buf([meta])
}

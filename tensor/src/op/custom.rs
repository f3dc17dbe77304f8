//! Operations of the user's own.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Keeps, Meta, Metas, Operation};
use crate::{AnyTensor, DType, Element, Error, Result};

/// An operation that Kiln does not have: applied, recorded, traced and differentiated like any
/// other. What it computes is a kernel, a decomposition into other operations, or both; its
/// gradient is a rule, or that of the decomposition.
///
/// A residual connection with its ReLU in one pass over memory:
///
/// ```
/// use kiln_tensor::op::{CpuInput, CpuKernel, CpuOutput, CustomOp, Derivative};
/// use kiln_tensor::op::{GradientRule, Keeps, Kept, Meta, Metas};
/// use kiln_tensor::{AnyTensor, Error, Result, Tensor};
///
/// /// `max(x + y, 0)` of two f32 tensors of one shape.
/// #[derive(Debug)]
/// struct ResidualRelu;
///
/// impl CustomOp for ResidualRelu {
///     fn name(&self) -> &'static str {
///         "residual_relu"
///     }
///     fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
///         match inputs {
///             [x, y] if x == y => Ok([*x].into()),
///             _ => Err(Error::Argument { op: self.name(), rule: "needs two of one shape".into() }),
///         }
///     }
///     fn cpu(&self) -> Option<&dyn CpuKernel> {
///         Some(self)
///     }
///     fn derivative(&self) -> Derivative<'_> {
///         Derivative::Rule(self)
///     }
/// }
///
/// impl CpuKernel for ResidualRelu {
///     fn run(&self, inputs: &[CpuInput<'_>], outputs: &mut [CpuOutput<'_>]) -> Result<()> {
///         let (x, y) = (inputs[0].as_slice::<f32>()?, inputs[1].as_slice::<f32>()?);
///         let sums = x.iter().zip(y).map(|(x, y)| (x + y).max(0.0));
///         outputs[0].as_mut_slice::<f32>()?.iter_mut().zip(sums).for_each(|(z, sum)| *z = sum);
///         Ok(())
///     }
/// }
///
/// impl GradientRule for ResidualRelu {
///     fn keeps(&self, _: u32) -> Keeps {
///         Keeps::OUTPUT // Where the result is zero, no gradient passes.
///     }
///     fn gradients(&self, kept: &Kept, dys: &[Option<AnyTensor>]) -> Result<Vec<Option<AnyTensor>>> {
///         let Some(dz) = &dys[0] else { return Ok(vec![None, None]) };
///         let dx = dz.mul(&kept.output(0).greater_scalar(0).cast(dz.dtype()));
///         Ok(vec![Some(dx.clone()), Some(dx)])
///     }
/// }
///
/// let (x, y) = (Tensor::<1>::from([1.0, -3.0]), Tensor::<1>::from([2.0, 1.0]));
/// let z: Tensor<1> = x.apply(ResidualRelu, &[y.as_any()]);
/// assert_eq!(z.into_data().to_vec::<f32>()?, [3.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
pub trait CustomOp: std::fmt::Debug + Send + Sync + 'static {
    /// The name in error texts, summaries and profiles.
    fn name(&self) -> &'static str;

    /// The shape and dtype rule: the outputs for these inputs, or the rule that they break. What
    /// it accepts, the kernel must compute.
    fn infer(&self, inputs: &[Meta]) -> Result<Metas>;

    /// The kernel for the CPU. `None`: the decomposition runs there, as on all other devices.
    fn cpu(&self) -> Option<&dyn CpuKernel> {
        None
    }

    /// The same result from other operations. Needed where there is no kernel.
    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let _ = inputs;
        None
    }

    /// Where the gradient comes from.
    fn derivative(&self) -> Derivative<'_> {
        Derivative::None("it was given none")
    }

    /// Floating-point operations of one execution.
    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        let _ = inputs;
        outputs.iter().map(|meta| meta.len() as u64).sum()
    }
}

/// Computes the outputs of a [`CustomOp`] on the CPU.
pub trait CpuKernel {
    /// Fills every element of every output.
    fn run(&self, inputs: &[CpuInput<'_>], outputs: &mut [CpuOutput<'_>]) -> Result<()>;
}

/// Where the gradient of a [`CustomOp`] comes from.
pub enum Derivative<'a> {
    /// A rule. Written in tensor operations, it can itself be differentiated.
    Rule(&'a dyn GradientRule),
    /// The gradients of the operation's decomposition.
    Decomposition,
    /// There is none, for this reason: applying the operation to a tracked tensor is an error.
    None(&'static str),
}

/// The gradient of a [`CustomOp`].
pub trait GradientRule {
    /// What [`GradientRule::gradients`] needs if the inputs in `tracked` (one bit each) want a
    /// gradient.
    fn keeps(&self, tracked: u32) -> Keeps;

    /// The gradient of each input, `None` where there is none, given those of the outputs, `None`
    /// where nothing depends on the output. Gradients have the shapes and dtypes of what they
    /// belong to.
    fn gradients(
        &self,
        kept: &Kept,
        output_gradients: &[Option<AnyTensor>],
    ) -> Result<Vec<Option<AnyTensor>>>;
}

/// What a [`GradientRule`] keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The inputs.
    pub inputs: SmallVec<[Option<AnyTensor>; 3]>,
    /// The outputs.
    pub outputs: SmallVec<[Option<AnyTensor>; 1]>,
}

impl Kept {
    /// Input `i`. Panics if the rule does not keep it.
    #[track_caller]
    pub fn input(&self, i: usize) -> &AnyTensor {
        self.inputs.get(i).and_then(Option::as_ref).expect("the rule keeps this input")
    }

    /// Output `i`. Panics if the rule does not keep it.
    #[track_caller]
    pub fn output(&self, i: usize) -> &AnyTensor {
        self.outputs.get(i).and_then(Option::as_ref).expect("the rule keeps this output")
    }
}

/// An input of a [`CpuKernel`].
pub struct CpuInput<'a>(&'a AnyTensor);

impl CpuInput<'_> {
    /// Shape and dtype.
    pub fn meta(&self) -> Meta {
        self.0.meta()
    }

    /// The elements in row-major order. An error if they are not of type `E`.
    pub fn as_slice<E: Element>(&self) -> Result<&[E]> {
        check_dtype::<E>(self.0.dtype())?;
        // SAFETY: `execute` made the tensor contiguous, it has this dtype, and no tensor of the
        // running operation is written but its outputs, which overlap no input.
        Ok(unsafe { std::slice::from_raw_parts(first(self.0), self.0.num_elements()) })
    }
}

/// An output of a [`CpuKernel`].
pub struct CpuOutput<'a>(&'a AnyTensor);

impl CpuOutput<'_> {
    /// Shape and dtype.
    pub fn meta(&self) -> Meta {
        self.0.meta()
    }

    /// The elements in row-major order, to be filled. An error if they are not of type `E`.
    pub fn as_mut_slice<E: Element>(&mut self) -> Result<&mut [E]> {
        check_dtype::<E>(self.0.dtype())?;
        // Memory from the pool may hold any bits, but a bool must be 0 or 1.
        if E::DTYPE == DType::Bool {
            // SAFETY: the output covers as many bytes, and only this kernel reaches it.
            unsafe { std::ptr::write_bytes(first::<u8>(self.0), 0, self.0.num_elements()) };
        }
        // SAFETY: an output is contiguous, initialised (an invariant of the pool), of this dtype,
        // and only this borrow of it exists.
        Ok(unsafe { std::slice::from_raw_parts_mut(first(self.0), self.0.num_elements()) })
    }
}

fn first<E>(tensor: &AnyTensor) -> *mut E {
    // The offset of a layout lies inside of the buffer.
    (tensor.buffer().address() as *mut E).wrapping_add(tensor.layout().offset())
}

fn check_dtype<E: Element>(dtype: DType) -> Result<()> {
    if dtype == E::DTYPE {
        return Ok(());
    }
    let rule = format!("read as {}", E::DTYPE);
    Err(Error::DType { op: "custom", dtypes: vec![dtype], rule })
}

/// A [`CustomOp`] as a value of [`Op`](super::Op).
#[derive(Clone, Debug)]
pub struct Custom(Arc<dyn CustomOp>);

impl Custom {
    /// The operation.
    pub fn op(&self) -> &dyn CustomOp {
        &*self.0
    }

    /// Runs the kernel for the CPU.
    pub(crate) fn execute(&self, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
        let kernel = self.0.cpu().expect("`supports` asked for it");
        let dense: SmallVec<[AnyTensor; 4]> =
            inputs.iter().map(|x| x.alias().contiguous()).collect();
        let inputs: SmallVec<[CpuInput<'_>; 4]> = dense.iter().map(CpuInput).collect();
        let mut outputs: SmallVec<[CpuOutput<'_>; 2]> = outputs.iter().map(CpuOutput).collect();
        kernel.run(&inputs, &mut outputs)
    }
}

impl<T: CustomOp> From<T> for super::Op {
    fn from(op: T) -> Self {
        super::Op::Custom(Custom(Arc::new(op)))
    }
}

/// One and the same operation: what is inside can not be compared.
impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Operation for Custom {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        self.0.infer(inputs)
    }

    fn keeps(&self, tracked: u32) -> Keeps {
        match self.0.derivative() {
            Derivative::Rule(rule) => rule.keeps(tracked),
            Derivative::Decomposition => Keeps::INPUTS,
            Derivative::None(_) => Keeps::NOTHING,
        }
    }

    fn flops(&self, inputs: &[Meta], outputs: &[Meta]) -> u64 {
        self.0.flops(inputs, outputs)
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        self.0.decompose(inputs)
    }

    /// None: tests bring operations of their own.
    #[cfg(any(test, feature = "samples"))]
    fn samples(_: &mut super::samples::Samples) {}
}

//! Elementwise operations that follow each other, as one operation.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Keeps, Meta, Metas, Op, Operation, check};
use crate::{AnyTensor, Result};

/// What a link of a [`Chain`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// An input of the chain.
    Input(usize),
    /// The result of an earlier link.
    Link(usize),
}

/// One operation of a [`Chain`].
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The operation.
    pub op: Op,
    /// Its inputs.
    pub args: SmallVec<[Arg; 3]>,
}

/// Elementwise operations in an order in which they can be computed.
#[derive(Debug, Default, PartialEq)]
pub struct Chain {
    /// How many inputs there are.
    pub inputs: usize,
    /// The operations: those that [`Chain::allows`].
    pub links: Vec<Link>,
    /// The links whose results are the outputs.
    pub outputs: SmallVec<[usize; 1]>,
}

impl Chain {
    /// Whether an operation can be a link: one result, of which each element depends on the
    /// elements at its own position alone.
    pub fn allows(op: &Op) -> bool {
        matches!(
            op,
            Op::Fill(_)
                | Op::Cast(_)
                | Op::Unary(_)
                | Op::Binary(_)
                | Op::BinaryScalar(_)
                | Op::Where(_)
                | Op::ActivationBackward(_)
        )
    }

    /// Shape and dtype of each link's result, given those of the inputs.
    pub fn metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> {
        let mut metas: Vec<Meta> = Vec::with_capacity(self.links.len());
        for link in &self.links {
            let args: SmallVec<[Meta; 3]> =
                link.args.iter().map(|&arg| *pick(arg, inputs, &metas)).collect();
            metas.push(link.op.spec().infer(&args)?[0]);
        }
        Ok(metas)
    }

    /// For each link, the last link that reads its result; an output is read after all of them.
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last: Vec<usize> = (0..self.links.len()).collect();
        for (i, link) in self.links.iter().enumerate() {
            for arg in &link.args {
                if let Arg::Link(j) = *arg {
                    last[j] = i;
                }
            }
        }
        for &output in &self.outputs {
            last[output] = self.links.len();
        }
        last
    }
}

/// What `arg` stands for.
fn pick<'a, T>(arg: Arg, inputs: &'a [T], links: &'a [T]) -> &'a T {
    match arg {
        Arg::Input(i) => &inputs[i],
        Arg::Link(i) => &links[i],
    }
}

/// A [`Chain`] in one pass over memory, with the bits that its operations give one by one.
/// [`fuse`](crate::fuse()) makes them.
///
/// Inputs: as many as the chain has, of one shape. Results: its outputs, of that shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// What is computed.
    pub chain: Arc<Chain>,
}

impl Operation for Fused {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn infer(&self, inputs: &[Meta]) -> Result<Metas> {
        check::count(self.name(), inputs, self.chain.inputs)?;
        check::same_shape(self.name(), inputs)?;
        let links = self.chain.metas(inputs)?;
        let outputs: Metas = self.chain.outputs.iter().map(|&i| links[i]).collect();
        if outputs.iter().any(|output| output.shape != inputs[0].shape) {
            let rule = "an output must have the shape of the inputs";
            return Err(check::shape_error(self.name(), inputs, rule));
        }
        Ok(outputs)
    }

    /// Its gradient computes the links again.
    fn keeps(&self, _: u32) -> Keeps {
        Keeps::INPUTS
    }

    fn flops(&self, inputs: &[Meta], _: &[Meta]) -> u64 {
        let Ok(links) = self.chain.metas(inputs) else { return 0 };
        let flops = |(link, meta): (&Link, &Meta)| {
            let args: SmallVec<[Meta; 3]> =
                link.args.iter().map(|&arg| *pick(arg, inputs, &links)).collect();
            link.op.spec().flops(&args, std::slice::from_ref(meta))
        };
        self.chain.links.iter().zip(&links).map(flops).sum()
    }

    fn decompose(&self, inputs: &[&AnyTensor]) -> Option<SmallVec<[AnyTensor; 1]>> {
        let last = self.chain.last_uses();
        // `None`: not needed any more.
        let mut links: Vec<Option<AnyTensor>> = Vec::with_capacity(last.len());
        for (i, link) in self.chain.links.iter().enumerate() {
            let arg = |arg: &Arg| match *arg {
                Arg::Input(i) => inputs[i].clone(),
                Arg::Link(j) => links[j].clone().expect("it is used here"),
            };
            let args: SmallVec<[AnyTensor; 3]> = link.args.iter().map(arg).collect();
            let rest: SmallVec<[&AnyTensor; 3]> = args.iter().skip(1).collect();
            links.push(Some(match args.first() {
                Some(first) => first.apply(link.op.clone(), &rest),
                None => AnyTensor::create(link.op.clone(), inputs[0].device()),
            }));
            links
                .iter_mut()
                .zip(&last)
                .filter(|(_, last)| **last == i)
                .for_each(|(x, _)| *x = None);
        }
        self.chain.outputs.iter().map(|&i| links[i].clone()).collect()
    }

    #[cfg(any(test, feature = "samples"))]
    fn samples(samples: &mut super::samples::Samples) {
        use super::samples::{bool, float, float_in, int};
        use super::{
            Activation, ActivationBackward, Binary, BinaryKind, BinaryScalar, Cast, Fill, Unary,
            UnaryKind, Where,
        };
        use crate::{DType, Scalar, Shape};
        use Arg::{Input, Link as Of};

        let link = |op: Op, args: &[Arg]| Link { op, args: args.into() };
        let chain = |inputs, links: &[Link], outputs: &[usize]| {
            let (links, outputs) = (links.to_vec(), outputs.into());
            Fused { chain: Arc::new(Chain { inputs, links, outputs }) }
        };
        let unary = |kind| Op::from(Unary { kind });
        let binary = |kind| Op::from(Binary { kind });
        let scalar = |kind, scalar: f64, reversed| {
            Op::from(BinaryScalar { kind, scalar: Scalar::Float(scalar), reversed })
        };

        // gelu(a b + c) d
        let muladd = [
            link(binary(BinaryKind::Mul), &[Input(0), Input(1)]),
            link(binary(BinaryKind::Add), &[Of(0), Input(2)]),
            link(unary(UnaryKind::Gelu), &[Of(1)]),
            link(binary(BinaryKind::Mul), &[Of(2), Input(3)]),
        ];
        samples.case(chain(4, &muladd, &[3]), vec![float([3, 5]); 4]);
        // Both the sum and what follows from it, over more than one block.
        samples.case(chain(4, &muladd[..3], &[1, 2]), vec![float([37, 53]); 4]);
        // The third power of a number less 1, its inverse, and one that stays as it is.
        let numbers = [
            link(scalar(BinaryKind::Sub, 1.0, true), &[Input(0)]),
            link(scalar(BinaryKind::Pow, 3.0, false), &[Of(0)]),
            link(scalar(BinaryKind::Div, 2.0, true), &[Of(1)]),
            link(unary(UnaryKind::Tanh), &[Of(2)]),
        ];
        samples.case(chain(1, &numbers, &[3]), [float_in([2, 7], 2.0, 3.0)]);
        // The larger one of two, twice, and where it was the first.
        let choice = [
            link(binary(BinaryKind::Greater), &[Input(0), Input(1)]),
            link(Where.into(), &[Of(0), Input(0), Input(1)]),
            link(scalar(BinaryKind::Mul, 2.0, false), &[Of(1)]),
        ];
        samples.rough(chain(2, &choice, &[2, 0]), vec![float([4, 6]); 2]);
        // Bools of all kinds among each other, and as numbers.
        let logic = [
            link(binary(BinaryKind::And), &[Input(0), Input(1)]),
            link(binary(BinaryKind::Or), &[Input(0), Input(1)]),
            link(binary(BinaryKind::Xor), &[Of(0), Of(1)]),
            link(unary(UnaryKind::Not), &[Of(2)]),
            link(Cast { dtype: DType::F32 }.into(), &[Of(3)]),
        ];
        samples.rough(chain(2, &logic, &[3, 4]), vec![bool([9]); 2]);
        // A mask that was made elsewhere, and a constant.
        let yes = Fill { value: Scalar::Bool(true), meta: Meta::new(Shape::SCALAR, DType::Bool) };
        let masked = [
            link(yes.into(), &[]),
            link(binary(BinaryKind::Xor), &[Input(0), Of(0)]),
            link(Where.into(), &[Of(1), Input(1), Input(2)]),
            link(ActivationBackward { activation: Activation::Silu }.into(), &[Of(2), Input(1)]),
        ];
        samples.case(chain(3, &masked, &[3]), [bool([3, 5]), float([3, 5]), float([3, 5])]);
        // Integers, which no kernel fuses.
        let whole = [
            link(binary(BinaryKind::Mul), &[Input(0), Input(1)]),
            link(scalar(BinaryKind::Add, 3.0, false), &[Of(0)]),
        ];
        samples.rough(chain(2, &whole, &[1]), vec![int([7], -5, 5); 2]);
    }
}

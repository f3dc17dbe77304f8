//! Elementwise operations that follow each other, block by block: what one leaves in the cache, the
//! next reads there.

use std::ops::Range;

use half::{bf16, f16};
use smallvec::SmallVec;

use super::Cpu;
use super::access::pointer;
use super::elementwise::{
    BackwardLoop, BinaryLoop, Real, has_scalar_loop, map, map2, order, scalar_loop,
};
use super::halves::{narrow_bf16, narrow_f16, widen_bf16, widen_f16};
use super::parallel::{CHUNK, chunks};
use super::simd::{Isa, Kernel, dispatch};
use super::tile::Operand;
use crate::apply::compose;
use crate::op::{Arg, BinaryKind, Fused, Link, Meta, Op, UnaryKind};
use crate::{AnyTensor, DType, Result};

/// Elements of a block. `gelu(a b + c) d` of 1M on two threads took 671, 598 and 647 us in three
/// runs, in turn with blocks of 1024 elements: 724, 598, 733 us.
const BLOCK: usize = 2048;

pub(super) fn fused(op: &Fused, inputs: &[&AnyTensor], outputs: &[AnyTensor]) -> Result<()> {
    let metas: Vec<Meta> = inputs.iter().map(|input| input.meta()).collect();
    let links = op.chain.metas(&metas)?;
    let dtype_of = |arg: &Arg| match *arg {
        Arg::Input(i) => metas[i].dtype,
        Arg::Link(i) => links[i].dtype,
    };
    let all = |fits: fn(DType) -> bool| metas.iter().chain(&links).all(|meta| fits(meta.dtype));
    let fits =
        |link: &Link| fits(&link.op, link.args.iter().any(|arg| dtype_of(arg) == DType::Bool));
    if !op.chain.links.iter().all(fits) {
        return compose(&Cpu, &op.clone().into(), inputs, outputs);
    }
    if all(|dtype| matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::Bool)) {
        Plan::<f32>::new(op, inputs, &links, outputs).run();
    } else if all(|dtype| matches!(dtype, DType::F64 | DType::Bool)) {
        Plan::<f64>::new(op, inputs, &links, outputs).run();
    } else {
        return compose(&Cpu, &op.clone().into(), inputs, outputs);
    }
    Ok(())
}

/// Whether an operation can be computed in floats, where bools are zeros and ones.
fn fits(op: &Op, bools: bool) -> bool {
    match op {
        Op::Unary(op) => bools == (op.kind == UnaryKind::Not),
        Op::Binary(op) => !bools || op.kind.is_comparison() || is_logic(op.kind),
        Op::BinaryScalar(_) => !bools,
        _ => true,
    }
}

fn is_logic(kind: BinaryKind) -> bool {
    matches!(kind, BinaryKind::And | BinaryKind::Or | BinaryKind::Xor)
}

/// What chains are computed in.
trait Number: Real {
    /// Rounds to what `dtype` can hold.
    fn round(run: &mut [Self], dtype: DType);
}

impl Number for f32 {
    fn round(run: &mut [f32], dtype: DType) {
        match dtype {
            DType::BF16 => {
                let half = &mut [bf16::ZERO; BLOCK][..run.len()];
                narrow_bf16(run, half);
                widen_bf16(half, run);
            }
            DType::F16 => {
                let half = &mut [f16::ZERO; BLOCK][..run.len()];
                narrow_f16(run, half);
                widen_f16(half, run);
            }
            _ => {}
        }
    }
}

impl Number for f64 {
    fn round(_: &mut [f64], _: DType) {}
}

/// Numbers of a block, in lines of the cache of their own.
#[derive(Clone)]
#[repr(align(64))]
struct Block<T>([T; BLOCK]);

/// Where the numbers of an input come from.
enum Source<'a, T> {
    Floats(Operand<'a, T>),
    Bools(Operand<'a, i64>),
}

impl<'a, T: Number> Source<'a, T> {
    fn new(input: &'a AnyTensor, output: &AnyTensor) -> Self {
        match input.dtype() {
            DType::Bool => Self::Bools(Operand::new(input, output)),
            _ => Self::Floats(Operand::new(input, output)),
        }
    }

    /// Whether the numbers lie in memory as needed.
    fn is_direct(&self) -> bool {
        matches!(self, Self::Floats(Operand::Direct(_)))
    }

    /// Where an element lies, if it lies as needed.
    fn at(&self, place: usize) -> Option<*const T> {
        match self {
            Self::Floats(Operand::Direct(first)) => Some(first.wrapping_add(place)),
            _ => None,
        }
    }

    /// # Safety
    /// `range` is inside of the shape, and no longer than the block, unless that is not needed.
    unsafe fn fetch<'b>(&'b self, range: Range<usize>, block: &'b mut [T]) -> &'b [T] {
        match self {
            // SAFETY: the caller's promise.
            Self::Floats(operand) => unsafe { operand.fetch(range, block) },
            Self::Bools(operand) => {
                let buffer = &mut block[..range.len()];
                let mut bits = [0; BLOCK];
                // SAFETY: as above.
                let bits = unsafe { operand.fetch(range, &mut bits) };
                buffer.iter_mut().zip(bits).for_each(|(y, &bit)| *y = T::from_i64(bit));
                buffer
            }
        }
    }
}

/// A link, with what is the same for every block.
struct Stage<'a> {
    link: &'a Link,
    dtype: DType,
    /// Where the result is left for other links.
    buffer: usize,
    output: Option<&'a AnyTensor>,
    /// Whether the result goes straight to the output: no link reads it, and nothing is converted.
    direct: bool,
}

struct Plan<'a, T> {
    inputs: Vec<Source<'a, T>>,
    stages: Vec<Stage<'a>>,
    /// How many results are needed at one time.
    buffers: usize,
    elements: usize,
}

impl<'a, T: Number> Plan<'a, T> {
    fn new(
        op: &'a Fused,
        inputs: &[&'a AnyTensor],
        links: &[Meta],
        outputs: &'a [AnyTensor],
    ) -> Self {
        let last = op.chain.last_uses();
        let mut free: Vec<usize> = Vec::new();
        let mut buffers = 0;
        let mut stages: Vec<Stage<'a>> = Vec::with_capacity(links.len());
        for (i, link) in op.chain.links.iter().enumerate() {
            let buffer = free.pop().unwrap_or_else(|| {
                buffers += 1;
                buffers - 1
            });
            let output = op.chain.outputs.iter().position(|&output| output == i);
            let output = output.map(|place| &outputs[place]);
            let read = op.chain.links.iter().any(|link| link.args.contains(&Arg::Link(i)));
            let direct = !read && output.is_some_and(|output| output.dtype() == T::DTYPE);
            stages.push(Stage { link, dtype: links[i].dtype, buffer, output, direct });
            free.extend((0..=i).filter(|&j| last[j] == i).map(|j| stages[j].buffer));
        }
        let inputs = inputs.iter().map(|input| Source::new(input, &outputs[0])).collect();
        Self { inputs, stages, buffers, elements: outputs[0].num_elements() }
    }

    fn run(&self) {
        chunks(self.elements, CHUNK, |chunk| {
            let gathered = self.inputs.iter().filter(|input| !input.is_direct()).count();
            let count = gathered + self.buffers + 1;
            let mut blocks = vec![Block([T::default(); BLOCK]); count];
            let mut blocks = blocks.iter_mut().map(|block| &mut block.0[..]);
            let number = blocks.next().expect("one is for numbers");
            let mut gathered: Vec<&mut [T]> = self
                .inputs
                .iter()
                .map(|input| if input.is_direct() { None } else { blocks.next() })
                .map(Option::unwrap_or_default)
                .collect();
            let mut results: Vec<Option<&mut [T]>> = blocks.map(Some).collect();
            for start in chunk.clone().step_by(BLOCK) {
                let range = start..chunk.end.min(start + BLOCK);
                let inputs: SmallVec<[&[T]; 8]> = self
                    .inputs
                    .iter()
                    .zip(&mut gathered)
                    // SAFETY: the range is inside of the inputs, which have the output's shape.
                    .map(|(input, block)| unsafe { input.fetch(range.clone(), block) })
                    .collect();
                // While functions are computed, memory has nothing to do. Without this, the chain
                // above took 1000 to 1100 us, more than its four operations one by one.
                let next: SmallVec<[*const T; 8]> =
                    self.inputs.iter().filter_map(|input| input.at(range.end)).collect();
                for stage in &self.stages {
                    let own = results[stage.buffer].take().expect("no argument is there");
                    let arg = |i: usize| match stage.link.args.get(i) {
                        Some(&Arg::Input(i)) => inputs[i],
                        Some(&Arg::Link(i)) => {
                            let block = results[self.stages[i].buffer].as_ref();
                            &block.expect("it is another one")[..range.len()]
                        }
                        None => &[],
                    };
                    let args = [arg(0), arg(1), arg(2)];
                    let y = match stage.output {
                        // SAFETY: the range is inside of the output, which has this type, and only
                        // this call writes it.
                        Some(output) if stage.direct => unsafe {
                            let first = pointer::<T>(output).add(start);
                            std::slice::from_raw_parts_mut(first, range.len())
                        },
                        _ => &mut own[..range.len()],
                    };
                    compute(stage, &args[..stage.link.args.len()], y, number, &next);
                    if let Some(output) = stage.output.filter(|_| !stage.direct) {
                        // SAFETY: as above.
                        unsafe { T::write(y, output, start) };
                    }
                    results[stage.buffer] = Some(own);
                }
            }
        });
    }
}

/// One link of one block.
fn compute<T: Number>(
    stage: &Stage<'_>,
    args: &[&[T]],
    y: &mut [T],
    number: &mut [T],
    next: &[*const T],
) {
    let truth = |x: bool| T::from_i64(i64::from(x));
    match (&stage.link.op, args) {
        (Op::Fill(op), []) if stage.dtype == DType::Bool => y.fill(truth(op.value.to_f64() != 0.0)),
        (Op::Fill(op), []) => y.fill(T::from_f64(op.value.to_f64())),
        (Op::Cast(_), [x]) if stage.dtype == DType::Bool => map(x, y, |x| truth(x != T::default())),
        (Op::Cast(_), [x]) => y.copy_from_slice(x),
        (Op::Unary(op), [x]) if op.kind == UnaryKind::Not => {
            map(x, y, |x| truth(x == T::default()))
        }
        (Op::Unary(op), [x]) => dispatch(AheadLoop { kind: op.kind, x, y, next }),
        (Op::Binary(op), [a, b]) => match op.kind {
            BinaryKind::And => map2(a, b, y, |a, b| a * b),
            BinaryKind::Or => map2(a, b, y, |a, b| if a > b { a } else { b }),
            BinaryKind::Xor => map2(a, b, y, |a, b| truth(a != b)),
            kind => dispatch(BinaryLoop { kind, a, b, y }),
        },
        (Op::BinaryScalar(op), [x]) if has_scalar_loop::<T>(op) => scalar_loop(op, x, y),
        (Op::BinaryScalar(op), [x]) => {
            let number = &mut number[..y.len()];
            number.fill(T::from_f64(op.scalar.to_f64()));
            let [a, b] = order(*x, number, op.reversed);
            dispatch(BinaryLoop { kind: op.kind, a, b, y })
        }
        (Op::Where(_), [mask, a, b]) => {
            for (((y, &mask), &a), &b) in y.iter_mut().zip(*mask).zip(*a).zip(*b) {
                *y = if mask != T::default() { a } else { b };
            }
        }
        (Op::ActivationBackward(op), [saved, dy]) => {
            dispatch(BackwardLoop { op: op.activation, saved, dy, dx: &mut *y })
        }
        (op, _) => unreachable!("{op:?} is no link"),
    }
    T::round(y, stage.dtype);
}

/// A function of a block in the cache, while memory that is read next is on its way.
struct AheadLoop<'a, T> {
    kind: UnaryKind,
    x: &'a [T],
    y: &'a mut [T],
    /// Where the next block of each input begins.
    next: &'a [*const T],
}

impl<T: Real> Kernel for AheadLoop<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        /// Elements between calls for memory.
        const RUN: usize = 64;
        for (i, (x, y)) in self.x.chunks(RUN).zip(self.y.chunks_mut(RUN)).enumerate() {
            for first in self.next {
                let first = first.wrapping_add(i * RUN);
                (0..RUN).step_by(64 / size_of::<T>()).for_each(|j| prefetch(first.wrapping_add(j)));
            }
            T::unary::<I>(self.kind, x, y);
        }
    }
}

/// Asks for a line of memory that will be read.
#[inline(always)]
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    let _ = address;
}

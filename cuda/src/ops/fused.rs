//! Elementwise operations that follow each other, as a kernel that is generated for them.

use std::array::from_fn;
use std::mem::offset_of;

use kiln_tensor::op::{
    Activation, ActivationBackward, Arg, Binary, BinaryKind, BinaryScalar, Cast, Chain, Fused,
    Link, Meta, Op, Operation, Unary, UnaryKind,
};
use kiln_tensor::{AnyTensor, DType, Layout, MAX_RANK, Result, Scalar, Shape};
use smallvec::SmallVec;

use super::elementwise::{Call, c_type, size_of_type};
use super::{call, pointwise};
use crate::backend::Kernels;
use crate::cache::hash;
use crate::geometry::{Walk, index_type, needs_wide_index, threads_for};
use crate::params::{Operand, Params, address};
use crate::program::{FUSED, Program};

// What fits into the 4 KiB that a kernel gets.
const MOST_INPUTS: usize = 8;
const MOST_OUTPUTS: usize = 4;
const MOST_LINKS: usize = 64;
const _: () = assert!(size_of::<Parameters>() <= 4096);

/// Whether a kernel can be generated for a chain; others run link by link.
pub(super) fn supports(chain: &Chain) -> bool {
    (1..=MOST_INPUTS).contains(&chain.inputs)
        && (1..=MOST_OUTPUTS).contains(&chain.outputs.len())
        && (1..=MOST_LINKS).contains(&chain.links.len())
}

/// The numbers of a link, and where it reports a division by zero.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct LinkParameters {
    real: [f64; 2],
    whole: [i64; 2],
    fault: u64,
    operation: u32,
    unused: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    count: i64,
    dims: [i64; MAX_RANK],
    inputs: [Operand; MOST_INPUTS],
    outputs: [u64; MOST_OUTPUTS],
    rank: i32,
    links_used: i32,
    links: [LinkParameters; MOST_LINKS],
}

// SAFETY: the fields are numbers of eight bytes and pairs of four: there are no gaps.
unsafe impl Params for Parameters {
    /// A kernel has room for its own links alone.
    fn bytes(&self) -> &[u8] {
        let used = self.links_used as usize * size_of::<LinkParameters>();
        // SAFETY: all bytes are initialised, and no more links are used than there are.
        unsafe {
            let first = (&raw const *self).cast();
            std::slice::from_raw_parts(first, offset_of!(Parameters, links) + used)
        }
    }
}

pub(super) fn fused(
    kernels: &Kernels,
    op: &Fused,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let chain = &*op.chain;
    let metas: SmallVec<[Meta; MOST_INPUTS]> = inputs.iter().map(|input| input.meta()).collect();
    let code = Code::new(chain, &metas)?;
    if code.has_complex() {
        return one_by_one(kernels, op, inputs, outputs);
    }
    let shape = outputs[0].shape();
    let count = shape.num_elements();
    if count == 0 {
        return Ok(());
    }
    let whole = Layout::contiguous(shape);
    let layouts: [&Layout; MOST_INPUTS] =
        from_fn(|i| inputs.get(i).map_or(&whole, |input| input.layout()));
    let walk = Walk::new(&shape, layouts);
    let pack = code.pack();
    let aligned =
        |x: &AnyTensor| address(x).is_multiple_of((pack * size_of_type(c_type(x.dtype()))) as u64);
    let dense = walk.is_dense() && inputs.iter().copied().chain(outputs).all(aligned);
    let mut links = [LinkParameters::default(); MOST_LINKS];
    for ((to, call), link) in links.iter_mut().zip(&code.calls).zip(&chain.links) {
        let (fault, operation) = kernels.fault_of(link.op.spec().name());
        let (real, whole) = (call.numbers.real, call.numbers.whole);
        *to = LinkParameters { real, whole, fault, operation, unused: 0 };
    }
    let params = Parameters {
        count: count as i64,
        dims: walk.dims,
        inputs: from_fn(|i| {
            inputs.get(i).map_or(Operand::NONE, |input| Operand::new(input, walk.strides[i]))
        }),
        outputs: from_fn(|i| outputs.get(i).map_or(0, address)),
        rank: walk.rank as i32,
        links_used: chain.links.len() as i32,
        links,
    };
    let program = code.program(dense, needs_wide_index(count));
    let launch = threads_for(if dense { count.div_ceil(pack) } else { count });
    // SAFETY: the parameters are those of the program; the walk stays inside of the inputs, and
    // each output has `count` elements.
    unsafe { kernels.launch(&program, launch, &params) }
}

/// By the kernels of the links.
fn one_by_one(
    kernels: &Kernels,
    op: &Fused,
    inputs: &[&AnyTensor],
    outputs: &[AnyTensor],
) -> Result<()> {
    let inputs: Vec<AnyTensor> = inputs.iter().map(|input| input.detach()).collect();
    let parts = op.decompose(&inputs.iter().collect::<Vec<_>>());
    let parts = parts.ok_or_else(|| kernels.missing("this chain"))?;
    for (part, y) in parts.iter().zip(outputs) {
        pointwise::cast(y.dtype(), y.dtype()).run(kernels, &[part], y)?;
    }
    Ok(())
}

/// A chain of which all dtypes are known.
struct Code<'a> {
    chain: &'a Chain,
    inputs: SmallVec<[DType; MOST_INPUTS]>,
    /// The dtype of each link's result.
    links: Vec<DType>,
    calls: Vec<Call>,
}

impl<'a> Code<'a> {
    fn new(chain: &'a Chain, inputs: &[Meta]) -> Result<Self> {
        let links: Vec<DType> = chain.metas(inputs)?.iter().map(|meta| meta.dtype).collect();
        let inputs = inputs.iter().map(|meta| meta.dtype).collect();
        let mut code = Self { chain, inputs, links, calls: Vec::new() };
        let of_link = |link: &Link| {
            let args: SmallVec<[DType; 3]> = link.args.iter().map(|&arg| code.dtype(arg)).collect();
            call(&link.op, &args).expect("chains allow no other operations")
        };
        code.calls = chain.links.iter().map(of_link).collect();
        Ok(code)
    }

    fn dtype(&self, arg: Arg) -> DType {
        match arg {
            Arg::Input(i) => self.inputs[i],
            Arg::Link(i) => self.links[i],
        }
    }

    fn has_complex(&self) -> bool {
        self.inputs.iter().chain(&self.links).any(|dtype| dtype.is_complex())
    }

    /// Elements to a thread where all lie without gaps: 16 bytes of the largest type in memory.
    fn pack(&self) -> usize {
        let outputs = self.chain.outputs.iter().map(|&output| self.links[output]);
        let sizes = self.inputs.iter().copied().chain(outputs).map(DType::size);
        16 / sizes.max().unwrap_or(16)
    }

    /// The value of a link, in C++: computed as by a kernel of its own, and rounded as it would be
    /// on the way through memory.
    fn statement(&self, i: usize) -> String {
        let (link, function) = (&self.chain.links[i], &self.calls[i].function);
        let types = &function.types;
        let mut text = format!("{} v{i}; {{ ", c_type(self.links[i]));
        text += &format!("[[maybe_unused]] const Link& p = params.links[{i}]; ");
        text += &format!(
            "[[maybe_unused]] const auto s = Number<Widened<{}>::type>::from(p.real[0], p.whole[0]); ",
            types[0]
        );
        for (n, &arg) in link.args.iter().take(self.calls[i].inputs()).enumerate() {
            let value = match arg {
                Arg::Input(i) => format!("in.of{i}"),
                Arg::Link(i) => format!("v{i}"),
            };
            let value = as_type(value, c_type(self.dtype(arg)), types[n]);
            text += &format!("const auto x{n} = wide({value}); ");
        }
        let value = function.rounded(&function.expression);
        let value = as_type(value, types[types.len() - 1], c_type(self.links[i]));
        text + &format!("v{i} = {value}; }}")
    }

    /// The kernel. Its name is a hash of all that its source depends on.
    fn program(&self, dense: bool, wide: bool) -> Program {
        let inputs = self.inputs.iter().enumerate();
        let inputs: String = inputs.map(|(i, &x)| format!("DO({i}, {}) ", c_type(x))).collect();
        let outputs = self.chain.outputs.iter().enumerate();
        let outputs: String = outputs
            .map(|(i, &link)| format!("DO({i}, {}, v{link}) ", c_type(self.links[link])))
            .collect();
        let links = self.chain.links.len();
        let body: String = (0..links).map(|i| format!(" \\\n    {}", self.statement(i))).collect();
        let mut definitions = vec![
            ("INDEX", index_type(wide).to_string()),
            ("MOST_INPUTS", MOST_INPUTS.to_string()),
            ("MOST_OUTPUTS", MOST_OUTPUTS.to_string()),
            ("INPUTS", self.inputs.len().to_string()),
            ("LINKS", links.to_string()),
            ("EACH_INPUT(DO)", inputs),
            ("EACH_OUTPUT(DO)", outputs),
            ("CHAIN", body),
        ];
        if dense {
            definitions.extend([("DENSE", String::new()), ("PACK", self.pack().to_string())]);
        }
        let key = hash(definitions.iter().flat_map(|(name, text)| [*name, text.as_str()]));
        Program::new(&FUSED, format!("fused_{key:032x}"), definitions)
    }
}

/// A value as another type of the same bits: links that only move bits know types by size.
fn as_type(value: String, from: &str, to: &str) -> String {
    if from == to { value } else { format!("bits<{to}>({value})") }
}

/// Chains that stand for all: the usual one and its gradient, integers that are divided, and one
/// with as many inputs and outputs as there can be.
fn examples() -> Vec<(Chain, Vec<DType>)> {
    use Arg::{Input, Link as Of};
    let link = |op: Op, args: &[Arg]| Link { op, args: args.into() };
    let binary = |kind| Op::from(Binary { kind });
    let gelu = || Op::from(Unary { kind: UnaryKind::Gelu });
    let chain = |inputs, links: Vec<Link>, outputs: &[usize]| Chain {
        inputs,
        links,
        outputs: outputs.into(),
    };
    let muladd = || {
        vec![
            link(binary(BinaryKind::Mul), &[Input(0), Input(1)]),
            link(binary(BinaryKind::Add), &[Of(0), Input(2)]),
            link(gelu(), &[Of(1)]),
            link(binary(BinaryKind::Mul), &[Of(2), Input(3)]),
        ]
    };
    let slope = Op::from(ActivationBackward { activation: Activation::Gelu });
    let mut back = muladd();
    back.truncate(3);
    back.extend([
        link(binary(BinaryKind::Mul), &[Input(4), Input(3)]),
        link(slope, &[Of(1), Of(3)]),
        link(binary(BinaryKind::Mul), &[Of(4), Input(0)]),
        link(binary(BinaryKind::Mul), &[Of(4), Input(1)]),
        link(binary(BinaryKind::Mul), &[Input(4), Of(2)]),
    ]);
    let number = |kind, scalar| BinaryScalar { kind, scalar, reversed: false }.into();
    let whole = vec![
        link(binary(BinaryKind::FloorDiv), &[Input(0), Input(1)]),
        link(number(BinaryKind::Pow, Scalar::Int(3)), &[Of(0)]),
        link(Cast { dtype: DType::F32 }.into(), &[Of(1)]),
    ];
    let mut most = vec![link(gelu(), &[Input(0)])];
    for i in 1..MOST_INPUTS {
        most.push(link(binary(BinaryKind::Pow), &[Of(2 * i - 2), Input(i)]));
        most.push(link(gelu(), &[Of(2 * i - 1)]));
    }
    let mut all = Vec::new();
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        all.push((chain(4, muladd(), &[3]), vec![dtype; 4]));
        all.push((chain(5, back.clone(), &[4, 5, 6, 7]), vec![dtype; 5]));
        all.push((chain(MOST_INPUTS, most.clone(), &[8, 10, 12, 14]), vec![dtype; MOST_INPUTS]));
    }
    all.push((chain(2, whole.clone(), &[2]), vec![DType::U8; 2]));
    all.push((chain(2, whole, &[1, 2]), vec![DType::I64; 2]));
    all
}

/// Kernels of some chains; no list has all.
pub(super) fn programs() -> Vec<Program> {
    let of = |(chain, dtypes): &(Chain, Vec<DType>)| {
        let metas: Vec<Meta> =
            dtypes.iter().map(|&dtype| Meta::new(Shape::SCALAR, dtype)).collect();
        let code = Code::new(chain, &metas).expect("these dtypes go together");
        [true, false].map(|dense| code.program(dense, false))
    };
    examples().iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_number_is_the_same_kernel() {
        let program = |scalar: f64, kind| {
            let op = BinaryScalar { kind, scalar: Scalar::Float(scalar), reversed: false };
            let links = vec![Link { op: op.into(), args: [Arg::Input(0)].into_iter().collect() }];
            let chain = Chain { inputs: 1, links, outputs: [0].into_iter().collect() };
            let meta = Meta::new(Shape::new([3]), DType::F32);
            Code::new(&chain, &[meta]).unwrap().program(true, false)
        };
        let first = program(2.0, BinaryKind::Mul);
        assert_eq!(program(3.0, BinaryKind::Mul), first);
        assert_ne!(program(2.0, BinaryKind::Add).name, first.name);
    }
}

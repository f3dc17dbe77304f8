//! The family of kernels that compute each output element from the input elements at its place.

use kiln_tensor::{AnyTensor, DType, MAX_RANK, Result};

use crate::backend::Kernels;
use crate::geometry::{Walk, index_type, needs_wide_index, threads_for};
use crate::params::{Operand, Params, address};
use crate::program::{ELEMENTWISE, ELEMENTWISE_COMPLEX, Family, Program};

/// The dtypes that are numbers of a GPU's floating point.
pub(crate) const FLOATS: [DType; 4] = [DType::F16, DType::BF16, DType::F32, DType::F64];
/// The integers.
pub(crate) const INTS: [DType; 8] =
    [DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32, DType::U64, DType::I64];

/// The complex numbers.
pub(crate) const COMPLEX: [DType; 2] = [DType::Complex64, DType::Complex128];

/// The type in kernels that compute with the elements of a dtype.
pub(crate) fn number_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Complex64 => "c64",
        DType::Complex128 => "c128",
        dtype => c_type(dtype),
    }
}

/// The type in kernels that the elements of a dtype have, where complex ones are only moved.
pub(crate) fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "boolean",
        DType::U8 => "u8",
        DType::I8 => "i8",
        DType::U16 => "u16",
        DType::I16 => "i16",
        DType::U32 => "u32",
        DType::I32 => "i32",
        DType::U64 => "u64",
        DType::I64 => "i64",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::Complex64 => "u64",
        DType::Complex128 => "w16",
    }
}

/// The type for elements that are only moved: one for each size.
pub(crate) fn raw_type(dtype: DType) -> &'static str {
    match dtype.size() {
        1 => "u8",
        2 => "u16",
        4 => "u32",
        8 => "u64",
        _ => "w16",
    }
}

pub(crate) fn size_of_type(c_type: &str) -> usize {
    match c_type {
        "boolean" | "u8" | "i8" => 1,
        "u16" | "i16" | "f16" | "bf16" => 2,
        "u32" | "i32" | "f32" => 4,
        "w16" | "c128" => 16,
        _ => 8,
    }
}

/// A function of elements, as the kernel computes it.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// The name in the names of kernels.
    pub label: String,
    /// An expression in C++, as `elementwise.cu` says.
    pub expression: String,
    /// Whether the result is converted like a cast rather than wrapped.
    pub converts: bool,
    /// What the expression may call.
    pub family: &'static Family,
    /// The types of the inputs and, last, of the output.
    pub types: Vec<&'static str>,
}

impl Function {
    pub fn new(label: &str, expression: impl Into<String>, types: &[&'static str]) -> Self {
        let (label, expression) = (label.into(), expression.into());
        let complex = types.iter().any(|&name| matches!(name, "c64" | "c128"));
        let family = if complex { &ELEMENTWISE_COMPLEX } else { &ELEMENTWISE };
        Self { label, expression, converts: false, family, types: types.to_vec() }
    }

    /// Elements to a thread where all lie without gaps: 16 bytes of the largest type.
    fn pack(&self) -> usize {
        16 / self.types.iter().map(|name| size_of_type(name)).max().unwrap_or(16)
    }

    /// `value`, of the type that is computed in, as an element of the output.
    pub fn rounded(&self, value: &str) -> String {
        let convert = if self.converts { "convert" } else { "narrow" };
        format!("{convert}<{}>({value})", self.types[self.types.len() - 1])
    }

    /// The kernel for this function.
    pub fn program(&self, dense: bool, wide: bool) -> Program {
        let inputs = self.types.len() - 1;
        let output = self.types[inputs];
        let input = |i: usize| self.types[..inputs].get(i).copied().unwrap_or(output).to_string();
        let name = [
            self.label.as_str(),
            &self.types.join("_"),
            if dense { "dense" } else { "strided" },
            index_type(wide),
        ];
        let mut definitions = vec![
            ("INDEX", index_type(wide).to_string()),
            ("INPUTS", inputs.to_string()),
            ("X0", input(0)),
            ("X1", input(1)),
            ("X2", input(2)),
            ("Y", output.to_string()),
            ("RESULT(x)", self.rounded("x")),
            ("F", self.expression.clone()),
        ];
        if dense {
            definitions.extend([("DENSE", String::new()), ("PACK", self.pack().to_string())]);
        }
        Program::new(self.family, name.join("_"), definitions)
    }
}

/// What the expression may use beside the inputs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numbers {
    pub real: [f64; 2],
    pub whole: [i64; 2],
    pub seed: u64,
    pub offset: u64,
}

/// An elementwise operation: its function, and the numbers of it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub function: Function,
    pub numbers: Numbers,
}

impl Call {
    /// How many of the operation's inputs the function reads: the first ones.
    pub fn inputs(&self) -> usize {
        self.function.types.len() - 1
    }

    /// Computes `y` by a kernel of its own.
    pub fn run(&self, kernels: &Kernels, inputs: &[&AnyTensor], y: &AnyTensor) -> Result<()> {
        let Self { function, numbers } = self;
        match inputs[..self.inputs()] {
            [] => map(kernels, function, [], *numbers, y),
            [a] => map(kernels, function, [a], *numbers, y),
            [a, b] => map(kernels, function, [a, b], *numbers, y),
            [a, b, c] => map(kernels, function, [a, b, c], *numbers, y),
            _ => unreachable!("no function has more inputs"),
        }
    }
}

impl From<Function> for Call {
    fn from(function: Function) -> Self {
        Self { function, numbers: Numbers::default() }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    count: i64,
    dims: [i64; MAX_RANK],
    inputs: [Operand; 3],
    output: u64,
    real: [f64; 2],
    whole: [i64; 2],
    seed: u64,
    offset: u64,
    fault: u64,
    rank: i32,
    operation: u32,
}

// SAFETY: the fields are numbers of eight bytes and a last pair of four: there are no gaps.
unsafe impl Params for Parameters {}

/// Computes `y` from inputs that broadcast to its shape.
pub(crate) fn map<const N: usize>(
    kernels: &Kernels,
    function: &Function,
    inputs: [&AnyTensor; N],
    numbers: Numbers,
    y: &AnyTensor,
) -> Result<()> {
    let count = y.num_elements();
    if count == 0 {
        return Ok(());
    }
    let shape = y.shape();
    let expanded = inputs.map(|x| x.layout().expand(&shape).expect("the shape rule broadcasts"));
    let walk = Walk::new(&shape, expanded.each_ref());
    let pack = function.pack();
    let aligned = |(x, name): (u64, &&str)| x.is_multiple_of((pack * size_of_type(name)) as u64);
    let addresses = inputs.iter().map(|x| address(x)).chain([address(y)]);
    let dense = walk.is_dense() && addresses.zip(&function.types).all(aligned);
    let (fault, operation) = kernels.fault();
    let mut operands = [Operand::NONE; 3];
    for (i, x) in inputs.iter().enumerate() {
        operands[i] = Operand::new(x, walk.strides[i]);
    }
    let params = Parameters {
        count: count as i64,
        dims: walk.dims,
        inputs: operands,
        output: address(y),
        real: numbers.real,
        whole: numbers.whole,
        seed: numbers.seed,
        offset: numbers.offset,
        fault,
        rank: walk.rank as i32,
        operation,
    };
    let program = function.program(dense, needs_wide_index(count));
    let launch = threads_for(if dense { count.div_ceil(pack) } else { count });
    // SAFETY: the parameters are those of the family; the walk stays inside of the inputs, and the
    // output has `count` elements.
    unsafe { kernels.launch(&program, launch, &params) }
}

/// Writes `value` to `count` words of 64 bits.
pub(crate) fn fill_words(kernels: &Kernels, address: u64, count: usize, value: i64) -> Result<()> {
    let numbers = Numbers { whole: [value, 0], ..Numbers::default() };
    map_vectors(kernels, &Function::new("fill", "s", &["u64"]), &[], numbers, address, count)
}

/// Computes `count` numbers at `output` from as many at each of `inputs`, none of them a tensor.
pub(crate) fn map_memory(
    kernels: &Kernels,
    function: &Function,
    inputs: &[u64],
    output: u64,
    count: usize,
) -> Result<()> {
    map_vectors(kernels, function, inputs, Numbers::default(), output, count)
}

fn map_vectors(
    kernels: &Kernels,
    function: &Function,
    inputs: &[u64],
    numbers: Numbers,
    output: u64,
    count: usize,
) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let mut line = [0; MAX_RANK];
    line[0] = 1;
    let (mut dims, mut operands) = ([1; MAX_RANK], [Operand::NONE; 3]);
    dims[0] = count as i64;
    for (operand, &data) in operands.iter_mut().zip(inputs) {
        *operand = Operand { data, strides: line };
    }
    let (fault, operation) = kernels.fault();
    let params = Parameters {
        count: count as i64,
        dims,
        inputs: operands,
        output,
        real: numbers.real,
        whole: numbers.whole,
        seed: numbers.seed,
        offset: numbers.offset,
        fault,
        rank: 1,
        operation,
    };
    let program = function.program(false, needs_wide_index(count));
    // SAFETY: the parameters are those of the family; the caller reserved as many numbers.
    unsafe { kernels.launch(&program, threads_for(count), &params) }
}
